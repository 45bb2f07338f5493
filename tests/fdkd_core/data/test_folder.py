import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fdkd_core.data.folder import FolderSource
from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.errors import DatasetError
from fdkd_core.modalities.base import RowError

MakeFolder = Callable[[Mapping[str, bytes]], Path]


def code_of(source: FolderSource, name: str) -> str | None:
    """The code on looking; reading must give the same."""
    refused = source.refusal(name)
    if refused is None:
        source.read(name)
        return None
    with pytest.raises(RowError) as caught:
        source.read(name)
    assert caught.value.code == refused.code
    return refused.code


def test_reads_files(make_folder: MakeFolder) -> None:
    root = make_folder({"a.png": b"1", "deep/er/b.png": b"22"})
    source = FolderSource(root, DEFAULT)
    assert source.names() == ["a.png", "deep/er/b.png"]
    assert source.read("deep/er/b.png") == b"22"
    assert source.fingerprint("a.png") != source.fingerprint("deep/er/b.png")
    assert code_of(source, "a.png") is None


def test_the_root_may_be_a_link(make_folder: MakeFolder, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(make_folder({"a": b"1"}))
    assert FolderSource(tmp_path / "link", DEFAULT).read("a") == b"1"


def test_refuses_links_however_they_are_used(make_folder: MakeFolder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    root = make_folder({"real/a.png": b"1"})
    (root / "file.png").symlink_to(tmp_path / "secret")
    (root / "inside.png").symlink_to(root / "real" / "a.png")
    (root / "folder").symlink_to(tmp_path)
    source = FolderSource(root, DEFAULT)
    assert code_of(source, "file.png") == "unsafe_entry"
    assert code_of(source, "inside.png") == "unsafe_entry"
    assert code_of(source, "folder/secret") == "unsafe_entry"
    assert source.names() == ["real/a.png"]


def test_refuses_a_link_put_there_between_looking_and_reading(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    root = make_folder({"a.png": b"1"})
    source = FolderSource(root, DEFAULT)
    assert source.refusal("a.png") is None
    (root / "a.png").unlink()
    (root / "a.png").symlink_to(tmp_path / "secret")
    with pytest.raises(RowError):
        source.read("a.png")


def test_refuses_special_files_without_waiting(make_folder: MakeFolder) -> None:
    root = make_folder({"a": b""})
    os.mkfifo(root / "pipe")
    (root / "sub").mkdir()
    source = FolderSource(root, DEFAULT)
    assert code_of(source, "pipe") == "unsafe_entry"
    assert code_of(source, "sub") == "missing_file"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "a\\b", "a\0b", "x" * 300])
def test_refuses_names_that_lead_outside(make_folder: MakeFolder, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    assert code_of(FolderSource(make_folder({"a/b": b""}), DEFAULT), name) == "unsafe_entry"


def test_missing_files(make_folder: MakeFolder) -> None:
    source = FolderSource(make_folder({"a/b": b""}), DEFAULT)
    assert code_of(source, "a/c") == "missing_file"
    assert code_of(source, "z/c") == "missing_file"
    assert code_of(source, "a/b/c") == "unsafe_entry"


def test_limits_hold(make_folder: MakeFolder) -> None:
    root = make_folder({"a": b"12345", "b": b"", "c": b""})
    source = FolderSource(root, Limits(max_member_bytes=4, max_archive_entries=2))
    assert code_of(source, "a") == "exceeds_limit"
    with pytest.raises(DatasetError) as caught:
        source.names()
    assert caught.value.problems[0].code == "archive_limit"


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        FolderSource(tmp_path / "none", DEFAULT)
    assert caught.value.problems[0].code == "missing_file"


def test_many_folders_and_deep_ones(make_folder: MakeFolder) -> None:
    members = {f"d{number}/x": b"%d" % number for number in range(150)} | {"n/" * 100 + "x": b"deep"}
    source = FolderSource(make_folder(members), DEFAULT)
    for _ in range(2):
        assert {name: source.read(name) for name in members} == members
    source.close()
    source.close()


def test_identity_depends_on_names_and_content_alone(make_folder: MakeFolder) -> None:
    root = make_folder({"a": b"1", "b": b"2"})
    source = FolderSource(root, DEFAULT)
    first = source.sha256(["a", "b"])
    os.utime(root / "a", (0, 0))
    assert source.sha256(["b", "a", "a"]) == first
    (root / "a").write_bytes(b"3")
    assert source.sha256(["a", "b"]) != first
