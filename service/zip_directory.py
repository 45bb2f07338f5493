"""The names in a zip, read from its central directory alone and within bounds; nothing is unpacked here."""

from __future__ import annotations

import struct
from pathlib import Path

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_MAX_COMMENT = 65_535
_ENTRY = struct.Struct("<4s6H3L5H2L")
_ENTRY_SIGNATURE = b"PK\x01\x02"


def member_names(path: Path, *, max_directory_bytes: int) -> list[str] | None:
    """Lists the members of a zip.

    Returns:
        The names, or None when this is no zip, its directory is larger than allowed or not consistent, or of
        the form for more than 65,534 members or 4 GiB. Who reads the archive in earnest judges it again.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        tail_start = max(0, size - _END.size - _MAX_COMMENT)
        file.seek(tail_start)
        tail = file.read()
        found = tail.rfind(_END_SIGNATURE)
        if found < 0 or len(tail) - found < _END.size:
            return None
        _, _, _, _, count, directory_bytes, offset, _ = _END.unpack_from(tail, found)
        if directory_bytes > max_directory_bytes or offset + directory_bytes > tail_start + found:
            return None
        file.seek(offset)
        directory = file.read(directory_bytes)
    return _names(directory, count)


def _names(directory: bytes, count: int) -> list[str] | None:
    names, position = [], 0
    for _ in range(count):
        if len(directory) - position < _ENTRY.size or not directory.startswith(_ENTRY_SIGNATURE, position):
            return None
        fields = _ENTRY.unpack_from(directory, position)
        name_bytes, extra_bytes, comment_bytes = fields[10:13]
        start = position + _ENTRY.size
        # UTF-8 or code page 437: for suffixes and the few names looked for here, both read the same.
        names.append(directory[start : start + name_bytes].decode("utf-8", "replace"))
        position = start + name_bytes + extra_bytes + comment_bytes
    return names if position == len(directory) else None
