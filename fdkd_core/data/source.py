"""Where the files of a data set come from: a folder, a zip, a tar, or one file alone.

Members are read one by one into memory and never extracted. Every source is safe to read from several
threads and from forked processes: it uses positional reads, so there is no shared file position.
"""

from __future__ import annotations

import hashlib
import os
import stat
import weakref
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from fdkd_core.data.limits import Limits
from fdkd_core.errors import DatasetError, Problem, quote
from fdkd_core.modalities.base import RowError

_CHUNK_BYTES = 1 << 20


class MemberSource(Protocol):
    """The files of a data set by name. Names use `/` and are relative."""

    def names(self) -> list[str]:
        """Every regular file. A folder is walked for this, so ask only when all names are wanted."""
        ...

    def refusal(self, name: str) -> RowError | None:
        """Why a member cannot be read (missing, a link, too large), without reading it; None if it can."""
        ...

    def fingerprint(self, name: str) -> Hashable:
        """Cheap; different fingerprints promise different content."""
        ...

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            RowError: `missing_file`, `unsafe_entry`, `archive_limit`, `exceeds_limit`, `invalid_archive`.
        """
        ...

    def sha256(self, names: Iterable[str]) -> str:
        """Identity of the content: of the archive's bytes, or in a folder of the members named."""
        ...

    def close(self) -> None:
        """Gives the file back. Happens by itself when the source is no longer referred to."""
        ...


class OpenFile:
    """A regular file opened for positional reads, closed with the last reference to it."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.descriptor = descriptor
        self.name = name
        self._closer = weakref.finalize(self, os.close, descriptor)
        self.num_bytes = os.fstat(descriptor).st_size

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """Up to `num_bytes` from `offset`: fewer only at the end of the file."""
        parts = []
        while num_bytes > 0:  # one call returns at most 2 GiB
            part = os.pread(self.descriptor, num_bytes, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            num_bytes -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def chunks(self, offset: int, num_bytes: int) -> Iterator[bytes]:
        """The same bytes as those of `read_at`, in pieces."""
        end = offset + num_bytes
        while chunk := os.pread(self.descriptor, min(_CHUNK_BYTES, end - offset), offset):
            yield chunk
            offset += len(chunk)

    def sha256(self) -> str:
        """Hash of the whole file."""
        digest = hashlib.sha256()
        offset = 0
        while chunk := os.pread(self.descriptor, _CHUNK_BYTES, offset):
            digest.update(chunk)
            offset += len(chunk)
        return digest.hexdigest()

    def close(self) -> None:
        """Closes the file; harmless when repeated."""
        self._closer()


def open_regular(path: Path) -> OpenFile:
    """Opens a file that the caller named.

    Args:
        path: May be a symbolic link: it is the caller's own word, not the data's.

    Raises:
        DatasetError: `missing_file`, or `unsafe_entry` when it is a device, a FIFO or a socket.
    """
    try:
        # Opening a FIFO would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DatasetError(
            Problem("missing_file", f"cannot open {quote(str(path))}: {error.strerror}")
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DatasetError(Problem("unsafe_entry", f"{quote(str(path))} is not a regular file"))
    return OpenFile(descriptor, path.name)


class SingleFile:
    """A manifest on its own: its values are all inline, since there is nowhere to look for files."""

    def __init__(self, file: OpenFile, limits: Limits) -> None:
        self._file = file
        self._limits = limits

    def names(self) -> list[str]:
        """The one name."""
        return [self._file.name]

    def refusal(self, name: str) -> RowError | None:
        """Everything but the file itself is missing."""
        if name != self._file.name:
            return RowError(
                "missing_file", "there are no files beside a lone manifest: give the folder or an archive"
            )
        return None

    def fingerprint(self, name: str) -> Hashable:
        """The size of the file."""
        return self._file.num_bytes

    def read(self, name: str) -> bytes:
        """The file, when it is the one named."""
        refused = self.refusal(name)
        if refused is not None:
            raise refused
        return self._file.read_at(0, min(self._file.num_bytes, self._limits.max_manifest_bytes + 1))

    def sha256(self, names: Iterable[str]) -> str:
        """Hash of the file."""
        return self._file.sha256()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
