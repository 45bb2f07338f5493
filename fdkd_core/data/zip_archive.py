"""A zip as a source: members one by one, in memory or in pieces, never by path."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterable, Iterator

from fdkd_core.data.limits import Limits
from fdkd_core.data.source import OpenFile
from fdkd_core.data.spool import spooled
from fdkd_core.data.zip_directory import FLAG_ENCRYPTED, LOCAL, STORED, ZipEntry, read_zip_directory
from fdkd_core.errors import quote
from fdkd_core.modalities.base import RowError

_CHUNK_BYTES = 1 << 20
_DEFLATE_SLACK_BYTES = 1 << 16
"""Deflated bytes may outnumber what they unpack to, by the tables of one block."""


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
        self._entries = read_zip_directory(file, limits)

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
        self._check(name, entry, len(content), zlib.crc32(content))
        return content

    def _check(self, name: str, entry: ZipEntry, num_bytes: int, crc32: int) -> None:
        if num_bytes != entry.unpacked_bytes:
            raise RowError(
                "archive_limit",
                f"{quote(name)} unpacks to another size than the declared {entry.unpacked_bytes}",
            )
        if crc32 != entry.crc32:
            raise RowError("invalid_archive", f"{quote(name)} is damaged: its checksum does not match")

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a member in pieces, for files that are better not held in memory.

        Raises:
            RowError: As for `read`, after the last piece where size or checksum are wrong.
        """
        entry = self._entry(name)
        start = self._start(name, entry)
        packed = (
            self._file.read_at(start + offset, min(_CHUNK_BYTES, entry.packed_bytes - offset))
            for offset in range(0, entry.packed_bytes, _CHUNK_BYTES)
        )
        num_bytes = crc32 = 0
        for chunk in packed if entry.method == STORED else _inflated(name, packed):
            num_bytes, crc32 = num_bytes + len(chunk), zlib.crc32(chunk, crc32)
            if num_bytes > entry.unpacked_bytes:
                break
            yield chunk
        self._check(name, entry, num_bytes, crc32)

    def open_member(self, name: str) -> OpenFile:
        """A member unpacked to a temporary file: for what has to be a file of its own."""
        return spooled(self.chunks(name), name)

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

    def _entry(self, name: str) -> ZipEntry:
        refused = self.refusal(name)
        if refused is not None:
            raise refused
        return self._entries[name]

    def _unpack(
        self, name: str, entry: ZipEntry, max_bytes: int, max_packed_bytes: int | None = None
    ) -> bytes:
        packed = self._packed(name, entry, max_packed_bytes)
        if entry.method == STORED:
            return packed[:max_bytes]
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, max_bytes) if max_bytes else b""
        except zlib.error as error:
            raise RowError("invalid_archive", f"{quote(name)} is damaged: {error}") from error

    def _packed(self, name: str, entry: ZipEntry, max_bytes: int | None) -> bytes:
        start = self._start(name, entry)
        wanted = entry.packed_bytes if max_bytes is None else min(entry.packed_bytes, max_bytes)
        return self._file.read_at(start, wanted)

    def _start(self, name: str, entry: ZipEntry) -> int:
        """Where the packed bytes begin, once the local header has been compared."""
        local = self._file.read_at(entry.offset, LOCAL.size + len(entry.raw_name))
        if len(local) < LOCAL.size or local[:4] != b"PK\x03\x04":
            raise RowError("invalid_archive", f"{quote(name)} is not where the list of contents says")
        _, _, flags, method, _, _, _, _, _, name_bytes, extra_bytes = LOCAL.unpack_from(local)
        # Programs that trust the local header would see another file than we do.
        if (
            local[LOCAL.size :] != entry.raw_name
            or name_bytes != len(entry.raw_name)
            or method != entry.method
        ):
            raise RowError("unsafe_entry", f"{quote(name)} contradicts the list of contents")
        if flags & FLAG_ENCRYPTED:
            raise RowError("unsafe_entry", f"{quote(name)} is encrypted")
        start = entry.offset + LOCAL.size + name_bytes + extra_bytes
        if start + entry.packed_bytes > entry.end:
            raise RowError("unsafe_entry", f"{quote(name)} overlaps the next member")
        return int(start)


def _inflated(name: str, packed: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in packed:
            while piece:
                yield unpacker.decompress(piece, _CHUNK_BYTES)
                piece = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error as error:
        raise RowError("invalid_archive", f"{quote(name)} is damaged: {error}") from error
