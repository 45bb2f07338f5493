from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.storage import LocalStorage, Stored


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "storage").mkdir()
    return tmp_path / "storage"


@pytest.fixture
def storage(root: Path) -> LocalStorage:
    return LocalStorage(root)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def read(storage: LocalStorage, key: str) -> bytes:
    with storage.open(key) as file:
        return file.read()


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_what_is_put_is_hashed_and_read_back(storage: LocalStorage, root: Path, tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    stored = storage.put("jobs/job_1/attempt-1/student.zip", write(tmp_path / "a", content))
    assert stored == Stored(
        "jobs/job_1/attempt-1/student.zip", len(content), hashlib.sha256(content).hexdigest()
    )
    assert read(storage, stored.key) == content
    assert stat.S_IMODE((root / stored.key).stat().st_mode) == 0o400
    assert stat.S_IMODE((root / "jobs").stat().st_mode) == 0o700
    assert list(storage.keys("jobs")) == [stored.key]
    assert (tmp_path / "a").read_bytes() == content


def test_an_object_never_changes(storage: LocalStorage, root: Path, tmp_path: Path) -> None:
    storage.put("a/b", write(tmp_path / "first", b"first"))
    storage.put("a/b", tmp_path / "first")  # the same once more
    with pytest.raises(FileExistsError):
        storage.put("a/b", write(tmp_path / "second", b"second"))
    with pytest.raises(FileExistsError):
        storage.adopt("a/b", tmp_path / "second")
    assert read(storage, "a/b") == b"first"
    assert everything(root) == ["a", "a/b"]


def test_concurrent_puts_of_one_key_have_one_winner(
    storage: LocalStorage, root: Path, tmp_path: Path
) -> None:
    sources = [write(tmp_path / str(i), bytes([i]) * 2_000_000) for i in range(8)]

    def put(source: Path) -> Stored | None:
        try:
            return storage.put("a/b", source)
        except FileExistsError:
            return None

    with ThreadPoolExecutor(8) as threads:
        won = [stored for stored in threads.map(put, sources) if stored]
    assert len(won) == 1
    assert hashlib.sha256(read(storage, "a/b")).hexdigest() == won[0].sha256
    assert everything(root) == ["a", "a/b"]


def test_concurrent_puts_of_the_same_content_all_succeed(
    storage: LocalStorage, root: Path, tmp_path: Path
) -> None:
    source = write(tmp_path / "a", b"x" * 1_000_000)
    with ThreadPoolExecutor(8) as threads:
        assert len({*threads.map(lambda _: storage.put("a/b", source), range(16))}) == 1
    assert everything(root) == ["a", "a/b"]


def test_a_crash_between_temporary_file_and_name_leaves_no_object(
    storage: LocalStorage, root: Path, tmp_path: Path
) -> None:
    source = write(tmp_path / "a", b"x" * 3_000_000)
    script = (
        "import os, sys; from pathlib import Path; from service.storage import LocalStorage\n"
        "os.link = os.rename = lambda *a, **k: os._exit(137)\n"
        "LocalStorage(Path(sys.argv[1])).put('a/b', Path(sys.argv[2]))"
    )
    died = subprocess.run([sys.executable, "-c", script, root, source])
    assert died.returncode == 137
    [left] = [path for path in root.rglob("*") if path.is_file()]  # it fired: the bytes are there, unnamed
    assert left.stat().st_size == 3_000_000
    assert list(storage.keys("a")) == []
    with pytest.raises(FileNotFoundError):
        storage.open("a/b")
    assert storage.remove_temporaries(60) == 0
    os.utime(left, (time.time() - 61, time.time() - 61))
    assert storage.remove_temporaries(60) == 1
    assert everything(root) == ["a"]
    assert storage.put("a/b", source).size_bytes == 3_000_000


def test_adopting_leaves_the_source_to_the_caller(storage: LocalStorage, root: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "a", b"content")
    storage.adopt("datasets/ds_1/ds_1.zip", source)
    assert source.exists()
    source.unlink()
    assert read(storage, "datasets/ds_1/ds_1.zip") == b"content"
    assert stat.S_IMODE((root / "datasets/ds_1/ds_1.zip").stat().st_mode) == 0o400


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP])
def test_a_disk_without_hard_links_gets_copies(
    storage: LocalStorage, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    calls = []

    def refuse(*arguments: object, **options: object) -> None:
        calls.append(arguments)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    storage.adopt("a/b", write(tmp_path / "source", b"content"))
    with pytest.raises(FileExistsError):
        storage.put("a/b", write(tmp_path / "other", b"other"))
    storage.fetch("a/b", tmp_path / "fetched")
    storage.fetch("a", tmp_path / "folder")
    assert (tmp_path / "fetched").read_bytes() == (tmp_path / "folder/b").read_bytes() == b"content"
    assert len(calls) >= 4
    assert everything(root) == ["a", "a/b"]


def test_a_full_disk_leaves_nothing(
    storage: LocalStorage, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    (root / "a").mkdir()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        storage.put("a/b", write(tmp_path / "source", b"content"))
    assert everything(root) == ["a"]


def test_fetching_a_prefix_gives_a_folder(storage: LocalStorage, root: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        storage.put(f"models/mdl_1/bundle/{name}", write(tmp_path / name, name.encode()))
    (root / "models/mdl_1/bundle/.half.tmp").write_bytes(b"half")
    storage.fetch("models/mdl_1/bundle", tmp_path / "new" / "folder")
    assert everything(tmp_path / "new" / "folder") == ["config.json", "model.safetensors"]
    storage.delete("models/mdl_1")
    assert (tmp_path / "new/folder/config.json").read_bytes() == b"config.json"  # its reader keeps it


def test_fetching_replaces_nothing_and_finds_nothing(storage: LocalStorage, tmp_path: Path) -> None:
    storage.put("a/b", write(tmp_path / "source", b"content"))
    write(tmp_path / "there", b"mine")
    with pytest.raises(FileExistsError):
        storage.fetch("a/b", tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == b"mine"
    with pytest.raises(FileNotFoundError):
        storage.fetch("a/c", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_deleting_what_is_not_there(storage: LocalStorage, tmp_path: Path) -> None:
    storage.delete("a/b")
    storage.put("a/b", write(tmp_path / "source", b"content"))
    storage.delete("a/b")
    storage.delete("a")
    assert list(storage.keys("a")) == []
    with pytest.raises(FileNotFoundError):
        storage.open("a/b")


def test_a_prefix_is_no_object(storage: LocalStorage, tmp_path: Path) -> None:
    storage.put("a/b", write(tmp_path / "source", b"content"))
    with pytest.raises(FileNotFoundError):
        storage.open("a")


def traversals() -> list[str]:
    """200 ways to leave a folder, or to hide in it."""
    steps = ["..", "../..", ".", "", "..%2f", "%2e%2e", "%252e%252e", "..\\", "..;", "\u2025", "\uff0e\uff0e"]
    targets = ["etc/passwd", "secret", "x/../../../secret", "C:\\x", "~/secret", "\x00", "a\n", ".hidden"]
    corpus = [f"{step}/{target}" for step in steps for target in targets]
    corpus += [f"a/{step}/{target}" for step in steps for target in targets]
    corpus += [
        "/etc/passwd",
        "//host/share",
        "a//b",
        "a/",
        "/",
        "",
        " ",
        "a b",
        "-rf",
        "a/-rf",
        "a/.b",
        "\\\\h\\s",
    ]
    corpus += [
        "file:///etc/passwd",
        "a\x00",
        "a\r\nb",
        "é",
        "a" * 401,
        "/".join("a" * 250),
        "a" * 256,
        "$HOME",
        "`id`",
    ]
    corpus += ["a/..", "a/...", "..a", "a/b/../../../c", "a|b", "a*", "a?b", "a\tb", "a/\u202e", "\ud800"]
    return list(dict.fromkeys(corpus))[:200]  # fmt: skip


def test_no_key_leads_out(storage: LocalStorage, root: Path, tmp_path: Path) -> None:
    secret = write(tmp_path / "secret", b"secret")
    source = write(tmp_path / "source", b"content")
    before = everything(tmp_path)
    corpus = traversals()
    assert len(corpus) == 200
    for key in corpus:
        for action in (
            lambda key=key: storage.put(key, source),
            lambda key=key: storage.adopt(key, source),
            lambda key=key: storage.open(key),
            lambda key=key: storage.fetch(key, tmp_path / "fetched"),
            lambda key=key: list(storage.keys(key)),
            lambda key=key: storage.delete(key),
        ):
            with pytest.raises(ValueError, match="not a storage key"):
                action()
    assert everything(tmp_path) == before
    assert secret.read_bytes() == b"secret"


def test_links_inside_lead_nowhere(storage: LocalStorage, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    secret = write(outside / "secret", b"secret")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(secret)
    with pytest.raises(ValueError, match="leads out"):
        storage.open("folder/secret")
    with pytest.raises(ValueError, match="leads out"):
        storage.put("folder/new", secret)
    with pytest.raises(OSError, match="symbolic"):
        storage.open("file")
    storage.delete("file")
    assert secret.read_bytes() == b"secret"
    assert everything(outside) == ["secret"]
