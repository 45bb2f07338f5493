"""Pieces of a file put together on the disk, where there is no file of them yet."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable

from fdkd_core.data.source import OpenFile
from fdkd_core.errors import StorageError


def spooled(pieces: Iterable[bytes], name: str) -> OpenFile:
    """A temporary file without a name: the system frees it when this process closes it or dies.

    Args:
        pieces: Of the content, in order; whoever makes them keeps to the limits.
        name: As the file is called in messages, and told by its suffix.

    Raises:
        StorageError: There is no room.
    """
    with tempfile.TemporaryFile(buffering=0) as temporary:
        for piece in pieces:
            write_all(temporary.fileno(), piece)
        return OpenFile(os.dup(temporary.fileno()), name)


def write_all(descriptor: int, content: bytes) -> None:
    """Writes all of it, however many calls that takes.

    Raises:
        StorageError: There is no room.
    """
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise StorageError(f"no room to unpack the archive: {error.strerror}") from error
