"""A tar as a source: headers read once into an index, members afterwards by position.

A compressed tar allows no access by position, so it is first unpacked, under the limits, into a temporary
file without a name: the operating system frees it when this process closes it or dies.
"""

from __future__ import annotations

import bz2
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Literal, NamedTuple, Protocol

from fdkd_core.data.limits import Limits, MiB
from fdkd_core.data.names import collision_key, refusal_of_name, without_dot
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.source import OpenFile
from fdkd_core.data.spool import spooled, write_all
from fdkd_core.errors import DatasetError, Problem, quote
from fdkd_core.modalities.base import RowError

Compression = Literal["gzip", "bzip2", "xz"]

_BLOCK = 512
_CHUNK_BYTES = 1 * MiB
_MAX_NAME_RECORD_BYTES = 64 * 1024
"""A long name or a set of extended attributes comes as a small file of its own before the member."""
_MAX_XZ_BYTES = 256 * MiB
"""Memory of the xz decoder; `xz -9` wants 65 MiB."""
_MAX_PROBLEMS = 1_000
"""After this many, the rest is not looked at: the archive is refused anyway."""
_REGULAR = (b"0", b"\0", b"7")
_FOLDER = b"5"
_SPECIAL = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a FIFO",
    b"S": "a sparse file",
}


class _Member(NamedTuple):
    offset: int
    num_bytes: int


class TarSource:
    """The members of a tar.

    Args:
        file: The open archive.
        compression: How it is compressed; None for a plain tar.
        limits: Entries, bytes, names; for a compressed tar also the ratio.
        plain: The archive where it was unpacked already.

    Raises:
        DatasetError: `unsafe_entry` for bad or colliding names, links and special files; `archive_limit`;
            `invalid_archive` for damage.
        StorageError: There is no room for the unpacked archive.
    """

    def __init__(
        self,
        file: OpenFile,
        compression: Compression | None,
        limits: Limits,
        *,
        plain: OpenFile | None = None,
    ) -> None:
        self._packed = file
        self._plain = plain or unpacked_tar(file, compression, limits)
        self._members = _read_members(self._plain, limits)

    def names(self) -> list[str]:
        """Every member that is a file."""
        return list(self._members)

    def refusal(self, name: str) -> RowError | None:
        """Everything listed has passed the checks already."""
        return None if name in self._members else RowError("missing_file", f"no member {quote(name)}")

    def fingerprint(self, name: str) -> Hashable:
        """The size of the member."""
        return self._members[name].num_bytes

    def read(self, name: str) -> bytes:
        """The content of a member."""
        refused = self.refusal(name)
        if refused is not None:
            raise refused
        return self._plain.read_at(*self._members[name])

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a member in pieces."""
        return self._plain.chunks(*self._members[name])

    def open_member(self, name: str) -> OpenFile:
        """A member copied to a temporary file: for what has to be a file of its own."""
        return spooled(self.chunks(name), name)

    def sha256(self, names: Iterable[str]) -> str:
        """Hash of the archive file as it came."""
        return self._packed.sha256()

    def close(self) -> None:
        """Closes the archive and its unpacked copy."""
        self._packed.close()
        self._plain.close()


class _Decompressor(Protocol):
    """What bz2's and lzma's decompressors share, and zlib's can be made to."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gunzip:
    """zlib's decompressor under the interface of the other two."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail and len(out) < max_length
        return out


_DECOMPRESSORS: dict[Compression, Callable[[], _Decompressor]] = {
    "gzip": _Gunzip,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_BYTES),
}


def unpacked_tar(file: OpenFile, compression: Compression | None, limits: Limits) -> OpenFile:
    """The tar in a temporary file without a name, refused as soon as it has grown too much.

    A plain one is left where it is. Raises what `TarSource` does.
    """
    if compression is None:
        return file
    new = _DECOMPRESSORS[compression]
    decompressor = new()
    is_inside_stream = False
    consumed = produced = 0
    pending = head = b""
    with tempfile.TemporaryFile(buffering=0) as temporary:
        while True:
            if decompressor.eof:  # several streams may follow each other: `cat a.gz b.gz`
                pending = decompressor.unused_data.lstrip(b"\0")
                decompressor = new()
                is_inside_stream = False
            if not pending and decompressor.needs_input:
                pending = file.read_at(consumed, _CHUNK_BYTES)
                consumed += len(pending)
                if not pending:
                    break
            is_inside_stream = True
            try:
                out = decompressor.decompress(pending, _CHUNK_BYTES)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
                raise _damaged(f"{compression}: {error}") from error
            pending = b""
            produced += len(out)
            _check_growth(consumed, produced, limits)
            if len(head) < _BLOCK:
                head += out[: _BLOCK - len(head)]
                if len(head) == _BLOCK:
                    _check_is_tar(head, file.name, compression)
            write_all(temporary.fileno(), out)
        if is_inside_stream:
            raise _damaged("it is cut off")
        _check_is_tar(head, file.name, compression)
        return OpenFile(os.dup(temporary.fileno()), file.name)


def _check_is_tar(head: bytes, file_name: str, compression: Compression) -> None:
    if len(head) < _BLOCK or (head[257:262] != b"ustar" and head.strip(b"\0")):
        raise DatasetError(
            Problem(
                "unsupported_format",
                f"{quote(file_name)} is {compression}-compressed, but there is no tar inside",
            )
        )


def _check_growth(consumed: int, produced: int, limits: Limits) -> None:
    if produced > limits.max_unpacked_tar_bytes:
        raise DatasetError(
            Problem("archive_limit", f"the tar unpacks to more than {limits.max_unpacked_tar_bytes} bytes")
        )
    # A chunk is counted as consumed before it is unpacked, so the ratio is never overstated.
    if produced > limits.ratio_floor_bytes and produced > limits.max_ratio * consumed:
        raise DatasetError(
            Problem(
                "archive_limit",
                f"the tar unpacks from {consumed} to more than {produced} bytes; "
                f"{limits.max_ratio}:1 is allowed",
            )
        )


def _read_members(file: OpenFile, limits: Limits) -> dict[str, _Member]:
    log = ProblemLog(limits.max_bad_rows)
    members: dict[str, _Member] = {}
    seen: dict[str, str] = {}
    long_name: str | None = None
    long_size: int | None = None
    offset = 0
    num_entries = 0
    total_bytes = 0
    while True:
        block = file.read_at(offset, _BLOCK)
        if not block or len(log) > _MAX_PROBLEMS or not block.strip(b"\0"):
            break
        num_entries += 1
        if num_entries > limits.max_archive_entries:
            raise DatasetError(
                Problem("archive_limit", f"the tar has more than {limits.max_archive_entries} entries")
            )
        if len(block) < _BLOCK or _number(block[148:156]) != _checksum(block):
            raise _damaged(f"the header at byte {offset} is garbled")
        kind = block[156:157]
        num_bytes = _number(block[124:136])
        if kind in _REGULAR and long_size is not None:
            num_bytes = long_size
        content_offset = offset + _BLOCK
        if kind in (*_REGULAR, b"x", b"g", b"L", b"K"):
            offset = content_offset + (num_bytes + _BLOCK - 1) // _BLOCK * _BLOCK
            if num_bytes < 0 or content_offset + num_bytes > file.num_bytes:
                raise _damaged("it is cut off, or a member claims more bytes than there are")
        else:
            offset = content_offset
        if kind in (b"x", b"g", b"L", b"K"):
            if num_bytes > _MAX_NAME_RECORD_BYTES:
                raise DatasetError(Problem("unsafe_entry", f"a name or attribute takes {num_bytes} bytes"))
            record = file.read_at(content_offset, num_bytes)
            if kind == b"L":
                long_name = record.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif kind == b"x":
                path, size = _extended(record)
                long_name, long_size = path or long_name, size
            continue
        name = without_dot(long_name if long_name is not None else _short_name(block))
        long_name = long_size = None
        is_folder = kind == _FOLDER or (kind in _REGULAR and name.endswith("/"))
        name = name.rstrip("/") if is_folder else name
        reason = refusal_of_name(name, limits.max_name_chars)
        if is_folder and name in ("", "."):
            continue
        if reason is not None:
            log.add("unsafe_entry", f"the member name {quote(name)} {reason}")
        elif kind not in (*_REGULAR, _FOLDER):
            log.add("unsafe_entry", f"{quote(name)} is {_SPECIAL.get(kind, f'of the unknown type {kind!r}')}")
        elif not is_folder:
            if num_bytes > limits.max_member_bytes:
                log.add(
                    "archive_limit",
                    f"{quote(name)} has {num_bytes} bytes; {limits.max_member_bytes} are allowed",
                )
            key = collision_key(name)
            if key in seen:
                log.add("unsafe_entry", f"{quote(name)} and {quote(seen[key])} are one name on many systems")
            seen[key] = name
            total_bytes += num_bytes
            members[name] = _Member(content_offset, num_bytes)
    log.raise_if_any()
    return members


def _short_name(block: bytes) -> str:
    raw = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":  # GNU keeps other things where POSIX has the prefix
        prefix = block[345:500].split(b"\0", 1)[0]
        raw = prefix + b"/" + raw if prefix else raw
    return raw.decode("utf-8", "surrogateescape")


def _extended(record: bytes) -> tuple[str | None, int | None]:
    """`path` and `size` from a pax header, whose lines are `LENGTH KEY=VALUE`."""
    path: str | None = None
    size: int | None = None
    position = 0
    while position < len(record) and record[position] != 0:
        digits, space, _ = record[position : position + 20].partition(b" ")
        if not space or not digits.isdigit() or int(digits) <= len(digits) + 1:
            raise _damaged("an extended header is garbled")
        line = record[position + len(digits) + 1 : position + int(digits)]
        key, equals, value = line.removesuffix(b"\n").partition(b"=")
        if not equals:
            raise _damaged("an extended header is garbled")
        if key == b"path":
            path = value.decode("utf-8", "surrogateescape")
        elif key == b"size":
            size = _decimal(value)
        elif key.startswith(b"GNU.sparse"):
            raise DatasetError(
                Problem("unsafe_entry", "the tar holds a sparse file; pack it without --sparse")
            )
        position += int(digits)
    return path, size


def _number(field: bytes) -> int:
    """A number of a header: octal text, or base 256 for large ones; -1 when it is neither."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        return -1


def _decimal(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise _damaged("an extended header gives a size that is no number")
    return int(value)


def _checksum(block: bytes) -> int:
    return sum(block) - sum(block[148:156]) + 8 * ord(" ")


def _damaged(what: str) -> DatasetError:
    return DatasetError(Problem("invalid_archive", f"the tar is damaged: {what}"))
