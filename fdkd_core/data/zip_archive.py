"""A zip as a source: our own reader of its list of contents, so that every field is checked before use.

The stdlib's `zipfile` believes the archive about how many entries there are, opens archives behind other
files, and needs seconds for a million entries. This one refuses all of that in well under a second.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from fdkd_core.data.limits import Limits
from fdkd_core.data.names import collision_key, refusal_of_name, without_dot
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.source import OpenFile
from fdkd_core.errors import DatasetError, Problem, quote
from fdkd_core.modalities.base import RowError

_END = struct.Struct("<4sHHHHIIH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_ENTRY = struct.Struct("<4sBBHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_MAX_COMMENT_BYTES = 0xFFFF
_STORED, _DEFLATED = 0, 8
_DEFLATE_SLACK_BYTES = 1 << 16
"""Deflated bytes may outnumber what they unpack to, by the tables of one block."""
_FLAG_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_FLAG_UTF8 = 0x0800
_UNIX = 3
_MAX_PROBLEMS = 1_000
"""After this many, the rest of the list is not looked at: the archive is refused anyway."""


class _Directory(NamedTuple):
    """The list of contents and where it lies."""

    content: bytes
    offset: int
    num_entries: int


class _Entry(NamedTuple):
    raw_name: bytes
    offset: int
    """Of the local header."""
    end: int
    """Where the next entry, or the list of contents, begins."""
    packed_bytes: int
    unpacked_bytes: int
    crc32: int
    method: int


class ZipSource:
    """The members of a zip.

    Args:
        file: The open archive.
        limits: Checked against the list of contents now, and against what really comes out when reading.

    Raises:
        DatasetError: `unsafe_entry` for bad or colliding names, links, encryption and overlapping entries;
            `archive_limit` for too many entries, bytes or too high a ratio; `invalid_archive` for damage.
    """

    def __init__(self, file: OpenFile, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self._entries = _read_entries(_read_directory(file, limits), file.num_bytes, limits)

    def names(self) -> list[str]:
        """Every member that is a file."""
        return list(self._entries)

    def refusal(self, name: str) -> RowError | None:
        """Everything listed has passed the checks already."""
        return None if name in self._entries else RowError("missing_file", f"no member {quote(name)}")

    def fingerprint(self, name: str) -> Hashable:
        """Size and checksum, both verified when reading."""
        entry = self._entries[name]
        return entry.unpacked_bytes, entry.crc32

    def unpacked_bytes(self, name: str) -> int:
        """Declared size of a member; `read` never returns anything else."""
        return self._entries[name].unpacked_bytes

    def read(self, name: str) -> bytes:
        """The content of a member, decompressed under its declared size."""
        entry = self._entry(name)
        content = self._unpack(name, entry, entry.unpacked_bytes + 1)
        if len(content) != entry.unpacked_bytes:
            raise RowError(
                "archive_limit",
                f"{quote(name)} unpacks to another size than the declared {entry.unpacked_bytes}",
            )
        if zlib.crc32(content) != entry.crc32:
            raise RowError("invalid_archive", f"{quote(name)} is damaged: its checksum does not match")
        return content

    def read_start(self, name: str, num_bytes: int) -> bytes:
        """The first `num_bytes` of a member, unchecked: to see what it claims before unpacking it."""
        entry = self._entry(name)
        return self._unpack(
            name, entry, min(num_bytes, entry.unpacked_bytes), num_bytes + _DEFLATE_SLACK_BYTES
        )

    def sha256(self, names: Iterable[str]) -> str:
        """Hash of the archive file."""
        return self._file.sha256()

    def close(self) -> None:
        """Closes the archive."""
        self._file.close()

    def _entry(self, name: str) -> _Entry:
        refused = self.refusal(name)
        if refused is not None:
            raise refused
        return self._entries[name]

    def _unpack(self, name: str, entry: _Entry, max_bytes: int, max_packed_bytes: int | None = None) -> bytes:
        packed = self._packed(name, entry, max_packed_bytes)
        if entry.method == _STORED:
            return packed[:max_bytes]
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, max_bytes) if max_bytes else b""
        except zlib.error as error:
            raise RowError("invalid_archive", f"{quote(name)} is damaged: {error}") from error

    def _packed(self, name: str, entry: _Entry, max_bytes: int | None) -> bytes:
        local = self._file.read_at(entry.offset, _LOCAL.size + len(entry.raw_name))
        if len(local) < _LOCAL.size or local[:4] != b"PK\x03\x04":
            raise RowError("invalid_archive", f"{quote(name)} is not where the list of contents says")
        _, _, flags, method, _, _, _, _, _, name_bytes, extra_bytes = _LOCAL.unpack_from(local)
        # Programs that trust the local header would see another file than we do.
        if (
            local[_LOCAL.size :] != entry.raw_name
            or name_bytes != len(entry.raw_name)
            or method != entry.method
        ):
            raise RowError("unsafe_entry", f"{quote(name)} contradicts the list of contents")
        if flags & _FLAG_ENCRYPTED:
            raise RowError("unsafe_entry", f"{quote(name)} is encrypted")
        start = entry.offset + _LOCAL.size + name_bytes + extra_bytes
        if start + entry.packed_bytes > entry.end:
            raise RowError("unsafe_entry", f"{quote(name)} overlaps the next member")
        wanted = entry.packed_bytes if max_bytes is None else min(entry.packed_bytes, max_bytes)
        return self._file.read_at(start, wanted)


def _read_directory(file: OpenFile, limits: Limits) -> _Directory:
    """Finds the list of contents by the record at the very end of the file."""
    tail_bytes = min(file.num_bytes, _END.size + _MAX_COMMENT_BYTES)
    tail_offset = file.num_bytes - tail_bytes
    tail = file.read_at(tail_offset, tail_bytes)
    position = tail.rfind(b"PK\x05\x06")
    if position < 0 or position + _END.size > len(tail):
        raise _damaged("its end is missing; was the upload cut off?")
    _, disk, first_disk, _, num_entries, num_bytes, offset, comment_bytes = _END.unpack_from(tail, position)
    if position + _END.size + comment_bytes != len(tail):
        raise _damaged("there is something behind its end")
    end = tail_offset + position
    locator = (
        file.read_at(end - _END64_LOCATOR.size, _END64_LOCATOR.size) if end > _END64_LOCATOR.size else b""
    )
    if locator.startswith(b"PK\x06\x07"):  # more than 65,535 entries or 4 GiB
        _, disk, end, _ = _END64_LOCATOR.unpack(locator)
        record = file.read_at(end, _END64.size)
        if len(record) < _END64.size or not record.startswith(b"PK\x06\x06"):
            raise _damaged("its 64-bit end record is missing")
        _, _, _, _, _, first_disk, _, num_entries, num_bytes, offset = _END64.unpack(record)
    if disk or first_disk:
        raise _damaged("it is one part of several")
    if num_entries > limits.max_archive_entries or num_bytes > limits.max_directory_bytes:
        raise _over(f"it lists {num_entries} entries in {num_bytes} bytes", limits)
    if offset + num_bytes != end:  # also an archive appended to another file
        raise _damaged("its list of contents is not where it should be")
    return _Directory(file.read_at(offset, num_bytes), offset, num_entries)


def _read_entries(directory: _Directory, file_bytes: int, limits: Limits) -> dict[str, _Entry]:
    log = ProblemLog(limits.max_bad_rows)
    entries: list[tuple[str, _Entry]] = []
    seen: dict[str, str] = {}
    position = 0
    num_listed = 0
    total_bytes = 0
    content = directory.content
    while position < len(content) and len(log) < _MAX_PROBLEMS:
        num_listed += 1
        if num_listed > directory.num_entries:
            break
        if position + _ENTRY.size > len(content) or content[position : position + 4] != b"PK\x01\x02":
            raise _damaged("its list of contents is garbled")
        (
            _, _, system, _, flags, method, _, _, crc32, packed, unpacked,
            name_bytes, extra_bytes, comment_bytes, _, _, attributes, offset,
        ) = _ENTRY.unpack_from(content, position)  # fmt: skip
        start = position + _ENTRY.size
        raw_name = content[start : start + name_bytes]
        position = start + name_bytes + extra_bytes + comment_bytes
        if 0xFFFFFFFF in (packed, unpacked, offset):
            extra = content[start + name_bytes : start + name_bytes + extra_bytes]
            unpacked, packed, offset = _wide_fields(extra, unpacked, packed, offset)
        name = without_dot(_decoded(raw_name, flags))
        is_folder = name.endswith("/")
        if is_folder:
            name = name.rstrip("/")
        reason = refusal_of_name(name, limits.max_name_chars) if name or not is_folder else None
        if reason is not None:
            log.add("unsafe_entry", f"the member name {quote(name)} {reason}")
            continue
        mode = stat.S_IFMT(attributes >> 16) if system == _UNIX else 0
        if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            log.add("unsafe_entry", f"{quote(name)} is a link or a special file")
            continue
        if is_folder:
            continue
        if flags & _FLAG_ENCRYPTED:
            log.add("unsafe_entry", f"{quote(name)} is encrypted")
        if method not in (_STORED, _DEFLATED):
            log.add(
                "unsupported_format", f"{quote(name)} uses compression method {method}; use deflate or none"
            )
        if method == _STORED and packed != unpacked:
            log.add("unsafe_entry", f"{quote(name)} is stored but its two sizes differ")
        _check_sizes(name, packed, unpacked, limits, log)
        key = collision_key(name)
        if key in seen:
            log.add("unsafe_entry", f"{quote(name)} and {quote(seen[key])} are one name on many systems")
        seen[key] = name
        total_bytes += unpacked
        entries.append((name, _Entry(raw_name, offset, 0, packed, unpacked, crc32, method)))
    if total_bytes > limits.max_total_bytes or (
        total_bytes > limits.total_ratio_floor_bytes and total_bytes > limits.max_ratio * file_bytes
    ):
        log.add("archive_limit", f"the archive of {file_bytes} bytes unpacks to {total_bytes}")
    log.raise_if_any()
    if num_listed != directory.num_entries:
        raise _damaged("it lists another number of entries than it says")
    return _without_overlap(entries, directory.offset, limits)


def _check_sizes(name: str, packed: int, unpacked: int, limits: Limits, log: ProblemLog) -> None:
    if unpacked > limits.max_member_bytes:
        log.add(
            "archive_limit",
            f"{quote(name)} unpacks to {unpacked} bytes; at most {limits.max_member_bytes} are allowed",
        )
    elif unpacked > limits.ratio_floor_bytes and unpacked > limits.max_ratio * packed:
        log.add(
            "archive_limit",
            f"{quote(name)} unpacks from {packed} to {unpacked} bytes; {limits.max_ratio}:1 is allowed",
        )


def _without_overlap(
    entries: list[tuple[str, _Entry]], directory_offset: int, limits: Limits
) -> dict[str, _Entry]:
    """Adds to each entry where the next begins, and refuses entries that share bytes."""
    log = ProblemLog(limits.max_bad_rows)
    end = directory_offset
    placed: dict[str, _Entry] = dict(entries)
    for name, entry in sorted(entries, key=lambda pair: pair[1].offset, reverse=True):
        placed[name] = _Entry(entry.raw_name, entry.offset, end, *entry[3:])
        if entry.offset + _LOCAL.size + len(entry.raw_name) + entry.packed_bytes > end:
            log.add("unsafe_entry", f"{quote(name)} overlaps another member")
        end = entry.offset
    log.raise_if_any()
    return placed


def _decoded(raw_name: bytes, flags: int) -> str:
    try:
        return raw_name.decode()  # macOS writes UTF-8 without setting the flag
    except UnicodeDecodeError:
        return raw_name.decode("utf-8" if flags & _FLAG_UTF8 else "cp437", errors="surrogateescape")


def _wide_fields(extra: bytes, unpacked: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The 64-bit values behind fields that are all ones."""
    position = 0
    while position + 4 <= len(extra):
        tag, num_bytes = struct.unpack_from("<HH", extra, position)
        if tag == 0x0001:
            wide = list(struct.iter_unpack("<Q", extra[position + 4 : position + 4 + num_bytes // 8 * 8]))
            values = [value for (value,) in wide]
            needed = [field == 0xFFFFFFFF for field in (unpacked, packed, offset)]
            if len(values) >= sum(needed):
                taken = iter(values)
                unpacked, packed, offset = (
                    next(taken) if need else field
                    for need, field in zip(needed, (unpacked, packed, offset), strict=True)
                )
                return unpacked, packed, offset
        position += 4 + num_bytes
    raise _damaged("a 64-bit size is missing")


def _damaged(what: str) -> DatasetError:
    return DatasetError(Problem("invalid_archive", f"the zip is damaged: {what}"))


def _over(what: str, limits: Limits) -> DatasetError:
    return DatasetError(
        Problem(
            "archive_limit",
            f"the zip has too much in it: {what}; at most {limits.max_archive_entries} entries and "
            f"{limits.max_directory_bytes} bytes are allowed",
        )
    )
