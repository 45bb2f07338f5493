import bz2
import gzip
import io
import lzma
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.source import open_regular
from fdkd_core.data.tar_archive import Compression, TarSource
from fdkd_core.errors import DatasetError, Problem, StorageError

PACKERS: dict[Compression, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, 6),
    "bzip2": bz2.compress,
    "xz": lambda content: lzma.compress(content, preset=1),
}


def tar_bytes(members: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def tar_of(*infos: tarfile.TarInfo) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return file.getvalue()


def opened(
    tmp_path: Path, content: bytes, compression: Compression | None = None, limits: Limits = DEFAULT
) -> TarSource:
    path = tmp_path / "data.tar"
    path.write_bytes(content)
    return TarSource(open_regular(path), compression, limits)


def refused(
    tmp_path: Path, content: bytes, compression: Compression | None = None, limits: Limits = DEFAULT
) -> list[Problem]:
    started = time.process_time()
    with pytest.raises(DatasetError) as caught:
        opened(tmp_path, content, compression, limits)
    assert time.process_time() - started < 2
    return list(caught.value.problems)


MEMBERS = {
    "manifest.csv": b"id\n",
    "image/ü.png": b"p" * 1000,
    "deep/" * 40 + "name.png": b"long",
    "empty": b"",
    "d" * 120 + ".png": b"longer than a header has room for",
}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_reads_what_tarfile_writes(tmp_path: Path, form: int) -> None:
    source = opened(tmp_path, tar_bytes(MEMBERS, form))
    assert source.names() == list(MEMBERS)
    assert {name: source.read(name) for name in MEMBERS} == MEMBERS


def test_reads_the_prefix_of_plain_ustar(tmp_path: Path) -> None:
    members = {"a" * 90 + "/" + "b" * 90: b"x"}
    assert opened(tmp_path, tar_bytes(members, tarfile.USTAR_FORMAT)).names() == list(members)


def test_passes_over_folders_and_leading_dots(tmp_path: Path) -> None:
    here, folder, file = tarfile.TarInfo("./"), tarfile.TarInfo("./image"), tarfile.TarInfo("./image/a.png")
    here.type = folder.type = tarfile.DIRTYPE
    file.size = 3
    assert opened(tmp_path, tar_of(here, folder, file)).names() == ["image/a.png"]


@pytest.mark.parametrize("compression", PACKERS)
def test_reads_compressed_tars_and_leaves_nothing(
    tmp_path: Path, temporary_folder: Path, compression: Compression
) -> None:
    packed = PACKERS[compression](tar_bytes(MEMBERS))
    source = opened(tmp_path, packed, compression)
    assert {name: source.read(name) for name in MEMBERS} == MEMBERS
    assert list(temporary_folder.iterdir()) == []


def test_reads_streams_one_after_the_other(tmp_path: Path) -> None:
    content = tar_bytes(MEMBERS)
    packed = gzip.compress(content[:700]) + gzip.compress(content[700:]) + bytes(100)
    assert opened(tmp_path, packed, "gzip").names() == list(MEMBERS)


@pytest.mark.parametrize("compression", PACKERS)
def test_refuses_a_compressed_bomb(tmp_path: Path, temporary_folder: Path, compression: Compression) -> None:
    bomb = PACKERS[compression](tar_bytes({"bomb": bytes(30 << 20)}))
    assert refused(tmp_path, bomb, compression)[0].code == "archive_limit"
    assert list(temporary_folder.iterdir()) == []


@pytest.mark.parametrize("compression", PACKERS)
def test_refuses_cut_off_and_damaged_streams(tmp_path: Path, compression: Compression) -> None:
    packed = PACKERS[compression](tar_bytes({"a": bytes(range(256)) * 40}))
    assert refused(tmp_path, packed[:-4], compression)[0].code == "invalid_archive"
    garbled = packed[: len(packed) // 2] + b"\xff" * 40 + packed[len(packed) // 2 + 40 :]
    assert refused(tmp_path, garbled, compression)[0].code == "invalid_archive"


@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("content", [b"id,split,label\n", b"x" * 4000])
def test_refuses_compressed_files_that_are_no_tar(
    tmp_path: Path, compression: Compression, content: bytes
) -> None:
    assert refused(tmp_path, PACKERS[compression](content), compression)[0].code == "unsupported_format"


def test_caps_the_unpacked_size(tmp_path: Path) -> None:
    packed = gzip.compress(tar_bytes({"a": bytes(range(256)) * 400}))
    limits = Limits(max_unpacked_tar_bytes=50_000)
    assert refused(tmp_path, packed, "gzip", limits)[0].code == "archive_limit"


def test_a_full_disk_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fdkd_core.data.spool.os.write", full)
    with pytest.raises(StorageError, match="No space left"):
        opened(tmp_path, gzip.compress(tar_bytes(MEMBERS)), "gzip")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, b"S", b"Z"]
)
def test_refuses_everything_but_files_and_folders(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("a.png")
    info.type, info.linkname = kind, "/etc/passwd"
    problems = refused(tmp_path, tar_of(info))
    assert [problem.code for problem in problems] == ["unsafe_entry"]


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/../../b", "a\\b", "CON", "a\nb", "x" * 4096, "a//b"]
)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_refuses_unsafe_names(tmp_path: Path, name: str, form: int) -> None:
    assert refused(tmp_path, tar_bytes({"good": b"", name: b"x"}, form))[0].code == "unsafe_entry"


@pytest.mark.parametrize("second", ["A.png", "a.png", "./a.png"])
def test_refuses_colliding_names(tmp_path: Path, second: str) -> None:
    infos = [tarfile.TarInfo("a.png"), tarfile.TarInfo(second)]
    assert "one name" in refused(tmp_path, tar_of(*infos))[0].detail


def test_refuses_sparse_files(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.pax_headers = {"GNU.sparse.major": "1"}
    assert refused(tmp_path, tar_of(info))[0].code == "unsafe_entry"


def test_refuses_huge_name_records(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, tar_bytes({"x" * 100_000: b""}))
    assert problem.code == "unsafe_entry"
    assert "attribute takes" in problem.detail  # and not its length, which is known only after reading it


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:900],
        lambda content: content[:300],
        lambda content: content[:148] + b"000000\0 " + content[156:],
        lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
    ],
)
def test_refuses_damaged_archives(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    content = tar_bytes({"a": b"x" * 2000})
    assert refused(tmp_path, damage(content))[0].code == "invalid_archive"


def test_refuses_a_member_that_claims_a_terabyte(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.size = 1 << 40
    assert refused(tmp_path, info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))[0].code == "invalid_archive"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(max_archive_entries=2), "archive_limit"),
        (Limits(max_member_bytes=10), "archive_limit"),
    ],
)
def test_limits_hold(tmp_path: Path, limits: Limits, code: str) -> None:
    content = tar_bytes({"a": b"x" * 20, "b": b"", "c": b""})
    opened(tmp_path, content)
    assert refused(tmp_path, content, limits=limits)[0].code == code


def test_many_small_members_are_fast(tmp_path: Path) -> None:
    content = tar_bytes({f"image/{number:05}.png": b"x" * 50 for number in range(5_000)})
    started = time.process_time()
    source = opened(tmp_path, content)
    assert sum(len(source.read(name)) for name in source.names()) == 250_000
    assert time.process_time() - started < 1
