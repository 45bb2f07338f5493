import io
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.source import open_regular
from fdkd_core.data.zip_archive import ZipSource
from fdkd_core.errors import DatasetError, Problem
from fdkd_core.modalities.base import RowError

MAX_SECONDS = 2.0
LOCAL = struct.Struct("<4sHHHHHIIIHH")
CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
END = struct.Struct("<4sHHHHIIH")


def opened(tmp_path: Path, content: bytes, limits: Limits = DEFAULT) -> ZipSource:
    path = tmp_path / "data.zip"
    path.write_bytes(content)
    return ZipSource(open_regular(path), limits)


def refused(tmp_path: Path, content: bytes, limits: Limits = DEFAULT) -> list[Problem]:
    started = time.process_time()
    with pytest.raises(DatasetError) as caught:
        opened(tmp_path, content, limits)
    assert time.process_time() - started < MAX_SECONDS
    return list(caught.value.problems)


def entry(
    name: bytes,
    content: bytes = b"hello",
    *,
    size: int | None = None,
    crc: int | None = None,
    flags: int = 0x0800,
    method: int = 0,
    system: int = 3,
    mode: int = 0o100644,
    local_name: bytes | None = None,
    central_extra: bytes = b"",
) -> tuple[bytes, Callable[[int], bytes]]:
    """The local part of a member, and its central part once the offset is known."""
    size = len(content) if size is None else size
    crc = zlib.crc32(content) if crc is None else crc
    shown = name if local_name is None else local_name
    local = LOCAL.pack(b"PK\x03\x04", 20, flags, method, 0, 0, crc, len(content), size, len(shown), 0)

    def central(offset: int) -> bytes:
        return (
            CENTRAL.pack(
                b"PK\x01\x02",
                system << 8 | 20,
                20,
                flags,
                method,
                0,
                0,
                crc,
                len(content),
                size,
                len(name),
                len(central_extra),
                0,
                0,
                0,
                mode << 16,
                offset,
            )
            + name
            + central_extra
        )

    return local + shown + content, central


def assemble(*entries: tuple[bytes, Callable[[int], bytes]], count: int | None = None) -> bytes:
    body = directory = b""
    for local, central in entries:
        directory += central(len(body))
        body += local
    count = len(entries) if count is None else count
    return body + directory + END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def test_reads_what_zipfile_writes(tmp_path: Path, packed: Callable[..., bytes]) -> None:
    members = {"a.txt": b"x" * 5000, "image/ü.png": b"pixels", "empty": b""}
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        source = opened(tmp_path, packed(members, compression))
        assert source.names() == list(members)
        assert {name: source.read(name) for name in members} == members
        assert source.read_start("a.txt", 10) == b"x" * 10
        assert source.unpacked_bytes("a.txt") == 5000


def test_reads_streamed_members_comments_and_folders(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:  # makes zipfile write sizes behind the data
            return False

        def seek(self, *args: int) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("image")
        archive.writestr("image/a.png", b"pixels" * 100)
        archive.comment = b"made by hand"
    source = opened(tmp_path, pipe.getvalue())
    assert source.names() == ["image/a.png"]
    assert source.read("image/a.png") == b"pixels" * 100


def with_end64(content: bytes, offset_shift: int = 0) -> bytes:
    """The archive with its end in the 64-bit format."""
    body, end = content[:-22], content[-22:]
    _, _, _, count, _, num_bytes, offset, _ = END.unpack(end)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, num_bytes, offset)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(body) + offset_shift, 1)
    none = END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return body + end64 + locator + none


def test_reads_the_64_bit_format(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open("a.npy", "w", force_zip64=True) as member:
        member.write(b"numbers")
    assert opened(tmp_path, with_end64(file.getvalue())).read("a.npy") == b"numbers"
    assert refused(tmp_path, with_end64(file.getvalue(), -1))[0].code == "invalid_archive"


def test_reads_wide_fields(tmp_path: Path) -> None:
    local, central = entry(b"a.txt", b"hello")
    wide = struct.pack("<HHQ", 1, 8, 5)
    record = bytearray(central(0) + wide)
    struct.pack_into("<I", record, 24, 0xFFFFFFFF)  # the unpacked size moves to the extra field
    struct.pack_into("<H", record, 30, len(wide))
    content = local + record + END.pack(b"PK\x05\x06", 0, 0, 1, 1, len(record), len(local), 0)
    assert opened(tmp_path, bytes(content)).read("a.txt") == b"hello"


def test_a_wide_field_without_its_value_is_refused(tmp_path: Path) -> None:
    local, central = entry(b"a.txt", b"hello")
    record = bytearray(central(0))
    struct.pack_into("<I", record, 24, 0xFFFFFFFF)
    content = local + record + END.pack(b"PK\x05\x06", 0, 0, 1, 1, len(record), len(local), 0)
    assert refused(tmp_path, bytes(content))[0].code == "invalid_archive"


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "/etc/passwd",
        "a/../../b",
        "a\\..\\b",
        "C:/x",
        "CON",
        "image/nul.png",
        "x" * 4096,
        "a\nb",
        "a//b",
    ],
)
def test_refuses_unsafe_names(tmp_path: Path, name: str) -> None:
    problems = refused(tmp_path, assemble(entry(b"good.png"), entry(name.encode())))
    assert [problem.code for problem in problems] == ["unsafe_entry"]


def test_refuses_a_name_with_nul(tmp_path: Path) -> None:
    assert refused(tmp_path, assemble(entry(b"a.png\0.exe")))[0].code == "unsafe_entry"


def test_refuses_an_unsafe_folder(tmp_path: Path) -> None:
    assert refused(tmp_path, assemble(entry(b"../up/", b"")))[0].code == "unsafe_entry"


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.png", "A.PNG"), ("caf\u00e9", "cafe\u0301"), ("a.png", "a.png"), ("a.png", "./a.png")],
)
def test_refuses_colliding_names(tmp_path: Path, first: str, second: str) -> None:
    problems = refused(tmp_path, assemble(entry(first.encode()), entry(second.encode())))
    assert problems[0].code == "unsafe_entry"
    assert "one name" in problems[0].detail


@pytest.mark.parametrize("mode", [0o120777, 0o060644, 0o020644, 0o010644, 0o140644])
def test_refuses_links_and_devices(tmp_path: Path, mode: int) -> None:
    problems = refused(tmp_path, assemble(entry(b"a.png", b"/etc/passwd", mode=mode)))
    assert problems[0].code == "unsafe_entry"


@pytest.mark.parametrize("flag", [0x0001, 0x0041, 0x2001])
def test_refuses_encryption(tmp_path: Path, flag: int) -> None:
    problems = refused(tmp_path, assemble(entry(b"a.png", flags=flag)))
    assert problems[0].code == "unsafe_entry"
    assert "encrypted" in problems[0].detail


def test_refuses_other_compression(tmp_path: Path, packed: Callable[..., bytes]) -> None:
    assert refused(tmp_path, packed({"a": b"x" * 99}, zipfile.ZIP_LZMA))[0].code == "unsupported_format"


def test_refuses_a_bomb_by_its_ratio(tmp_path: Path, packed: Callable[..., bytes]) -> None:
    problems = refused(tmp_path, packed({"bomb": bytes(20 << 20)}))
    assert problems[0].code == "archive_limit"
    assert "100:1" in problems[0].detail


def test_small_members_may_have_any_ratio(tmp_path: Path, packed: Callable[..., bytes]) -> None:
    assert len(opened(tmp_path, packed({"flat": bytes(1 << 20)})).read("flat")) == 1 << 20


def test_refuses_many_small_bombs_by_their_sum(tmp_path: Path, packed: Callable[..., bytes]) -> None:
    content = packed({f"m{number}": bytes(1 << 20) for number in range(70)})
    problems = refused(tmp_path, content)
    assert [problem.code for problem in problems] == ["archive_limit"]


def test_a_bomb_that_lies_about_its_size_is_cut_off(tmp_path: Path) -> None:
    bomb = deflated(bytes(50 << 20))
    source = opened(tmp_path, assemble(entry(b"a.png", bomb, size=1000, method=8)))
    with pytest.raises(RowError) as caught:
        source.read("a.png")
    assert caught.value.code == "archive_limit"


def test_a_member_that_yields_less_than_declared_is_refused(tmp_path: Path) -> None:
    source = opened(tmp_path, assemble(entry(b"a.png", deflated(b"x" * 900), size=1000, method=8)))
    with pytest.raises(RowError):
        source.read("a.png")


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(max_member_bytes=999), "archive_limit"),
        (Limits(max_total_bytes=1999), "archive_limit"),
        (Limits(max_archive_entries=1), "archive_limit"),
        (Limits(max_directory_bytes=50), "archive_limit"),
        (Limits(max_name_chars=2), "unsafe_entry"),
    ],
)
def test_limits_hold(tmp_path: Path, packed: Callable[..., bytes], limits: Limits, code: str) -> None:
    content = packed({"a.p": b"x" * 1000, "b.p": b"y" * 1000}, zipfile.ZIP_STORED)
    opened(tmp_path, content)
    assert {problem.code for problem in refused(tmp_path, content, limits)} == {code}


def test_refuses_a_million_entries_at_once(tmp_path: Path) -> None:
    record = entry(b"a")[1](0)
    directory = record * 1_000_000
    end = END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
    assert refused(tmp_path, directory + end)[0].code == "unsafe_entry"
    honest = struct.pack(
        "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1_000_000, 1_000_000, len(directory), 0
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(directory), 1)
    assert refused(tmp_path, directory + honest + locator + end)[0].code == "archive_limit"


def test_refuses_more_entries_than_it_admits(tmp_path: Path) -> None:
    directory = b"".join(entry(b"%x" % number, b"")[1](0) for number in range(200_000))
    end = END.pack(b"PK\x05\x06", 0, 0, 5, 5, len(directory), 0, 0)
    assert refused(tmp_path, directory + end)[0].code == "invalid_archive"


def test_refuses_a_wrong_number_of_entries(tmp_path: Path) -> None:
    assert refused(tmp_path, assemble(entry(b"a"), entry(b"b"), count=1))[0].code == "invalid_archive"


def test_refuses_overlapping_entries(tmp_path: Path) -> None:
    kernel = deflated(bytes(1 << 20))
    body, central_a = entry(b"a.png", kernel, size=1 << 20, crc=0, method=8)
    _, central_b = entry(b"b.png", kernel, size=1 << 20, crc=0, method=8)
    directory = central_a(0) + central_b(0)
    content = body + directory + END.pack(b"PK\x05\x06", 0, 0, 2, 2, len(directory), len(body), 0)
    problems = refused(tmp_path, content)
    assert problems[0].code == "unsafe_entry"
    assert "overlaps" in problems[0].detail


def test_refuses_overlap_through_the_local_extra_field(tmp_path: Path) -> None:
    local, central = entry(b"a.png", b"hello")
    shifted = bytearray(local)
    struct.pack_into("<H", shifted, 28, 4)  # the data now begin 4 bytes later
    second, central_second = entry(b"b.png")
    directory = central(0) + central_second(len(shifted))
    body = bytes(shifted) + second
    end = END.pack(b"PK\x05\x06", 0, 0, 2, 2, len(directory), len(body), 0)
    source = opened(tmp_path, body + directory + end)
    with pytest.raises(RowError) as caught:
        source.read("a.png")
    assert caught.value.code == "unsafe_entry"


def test_refuses_local_headers_that_say_something_else(tmp_path: Path) -> None:
    source = opened(tmp_path, assemble(entry(b"a.png", local_name=b"b.png")))
    with pytest.raises(RowError) as caught:
        source.read("a.png")
    assert caught.value.code == "unsafe_entry"


def test_refuses_stored_members_of_two_sizes(tmp_path: Path) -> None:
    assert refused(tmp_path, assemble(entry(b"a.png", b"hello", size=500)))[0].code == "unsafe_entry"


def test_a_flipped_bit_is_noticed(tmp_path: Path, packed: Callable[..., bytes]) -> None:
    content = bytearray(packed({"a.png": b"pixels of a"}, zipfile.ZIP_STORED))
    content[content.index(b"pixels")] ^= 1
    with pytest.raises(RowError) as caught:
        opened(tmp_path, bytes(content)).read("a.png")
    assert caught.value.code == "invalid_archive"


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content + b"more",
        lambda content: content[:-22] + b"more" + content[-22:],
        lambda content: b"\x7fELF" * 8 + content,
        lambda content: content[:4],
        lambda content: content.replace(b"PK\x01\x02", b"PK\x09\x09", 1),
        lambda content: content[:-20] + b"\x01" + content[-19:],
    ],
)
def test_refuses_damaged_archives(
    tmp_path: Path, packed: Callable[..., bytes], damage: Callable[[bytes], bytes]
) -> None:
    content = packed({"a.png": b"pixels" * 10, "b.png": b"x"}, zipfile.ZIP_STORED)
    assert refused(tmp_path, damage(content))[0].code == "invalid_archive"


def test_nothing_is_left_on_disk_and_nothing_is_opened_inside(
    tmp_path: Path,
    temporary_folder: Path,
    make_zip: Callable[[Mapping[str, bytes]], Path],
    packed: Callable[..., bytes],
    problems_of: Callable[..., list[Problem]],
) -> None:
    inner = packed({"deeper.zip": packed({"0.dll": bytes(1 << 20)})})
    path = make_zip({f"lib{number}.zip": inner for number in range(16)})
    before = sorted(tmp_path.rglob("*"))
    codes = [problem.code for problem in problems_of(path)]
    assert "unsafe_entry" in codes
    assert sorted(tmp_path.rglob("*")) == before
    assert list(temporary_folder.iterdir()) == []


def test_missing_members_and_closing(tmp_path: Path, packed: Callable[..., bytes]) -> None:
    source = opened(tmp_path, packed({"a": b"x"}))
    assert source.refusal("a") is None
    with pytest.raises(RowError) as caught:
        source.read("b")
    assert caught.value.code == "missing_file"
    source.close()
    source.close()
    with pytest.raises(OSError):
        source.read("a")
