"""A folder as a source. Nothing outside it can be reached, whatever the names or links in it say."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import weakref
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

from fdkd_core.data.limits import Limits
from fdkd_core.data.names import refusal_of_name
from fdkd_core.data.source import OpenFile
from fdkd_core.errors import DatasetError, Problem, quote
from fdkd_core.modalities.base import RowError

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO would otherwise wait for a writer for ever.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_OPEN_FOLDERS = 64


class _Folders:
    """Descriptors of the subfolders in use, each opened from its parent without following links."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: dict[str, int] = {}

    def descriptor(self, name: str) -> int:
        if not name:
            return self._root
        if name not in self._open:
            if len(self._open) >= _MAX_OPEN_FOLDERS:
                self._close_subfolders()
            parent, _, last = name.rpartition("/")
            self._open[name] = os.open(last, _OPEN_FOLDER, dir_fd=self.descriptor(parent))
        return self._open[name]

    def _close_subfolders(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def close(self) -> None:
        self._close_subfolders()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1


class FolderSource:
    """The regular files under a folder. Only files that are asked for are ever touched.

    Links and special files are refused where they are named; others may lie there unharmed, so that a
    project folder can be used as it is.

    Args:
        root: The folder; may itself be reached by a link, since the caller named it.
        limits: `max_member_bytes`, `max_archive_entries` and `max_name_chars` apply.

    Raises:
        DatasetError: `missing_file` when the folder cannot be opened.
    """

    def __init__(self, root: Path, limits: Limits) -> None:
        self._limits = limits
        try:
            self._folders = _Folders(root)
        except OSError as error:
            raise DatasetError(
                Problem("missing_file", f"cannot open the folder {quote(str(root))}: {error.strerror}")
            ) from error
        self._lock = threading.Lock()
        self._closer = weakref.finalize(self, self._folders.close)

    def names(self) -> list[str]:
        """Every regular file, found by walking the folder; links are not followed.

        Raises:
            DatasetError: `archive_limit` when there are too many.
        """
        found: list[str] = []
        waiting = [""]
        seen = 0
        while waiting:
            folder = waiting.pop()
            with self._lock, os.scandir(self._folders.descriptor(folder)) as entries:
                listed = [
                    (entry.name, entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False))
                    for entry in entries
                ]
            seen += len(listed)
            if seen > self._limits.max_archive_entries:
                raise DatasetError(
                    Problem(
                        "archive_limit",
                        f"the folder holds more than {self._limits.max_archive_entries} entries",
                    )
                )
            for last, is_folder, is_file in listed:
                name = f"{folder}/{last}" if folder else last
                if is_folder:
                    waiting.append(name)
                elif is_file:
                    found.append(name)
        return sorted(found)

    def refusal(self, name: str) -> RowError | None:
        """Looks at the file without opening it."""
        try:
            status = self._status(name)
        except RowError as refused:
            return refused
        return self._refusal_of(name, status)

    def fingerprint(self, name: str) -> Hashable:
        """The size of the file."""
        return self._status(name).st_size

    def read(self, name: str) -> bytes:
        """The content of a file, read through descriptors that cannot lead outside."""
        file = self.open_member(name)
        try:
            content = file.read_at(0, self._limits.max_member_bytes + 1)
        finally:
            file.close()
        if len(content) > self._limits.max_member_bytes:  # it grew since
            raise RowError("exceeds_limit", f"{quote(name)} changes while it is read")
        return content

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a file in pieces."""
        file = self.open_member(name)
        yield from file.chunks(0, file.num_bytes)

    def open_member(self, name: str) -> OpenFile:
        """The file itself, where it lies."""
        with self._lock:
            try:
                folder, last = self._locate(name)
                file = OpenFile(os.open(last, _OPEN_FILE, dir_fd=folder), last)
            except OSError as error:
                raise _missing(name, error) from error
        refused = self._refusal_of(name, os.fstat(file.descriptor))  # what was opened, not what was listed
        if refused is not None:
            file.close()
            raise refused
        return file

    def sha256(self, names: Iterable[str]) -> str:
        """Hash over name and content of each member named, in the order of the names."""
        digest = hashlib.sha256()
        for name in sorted(set(names)):
            content = self.read(name)
            encoded = name.encode()
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
            digest.update(len(content).to_bytes(8, "big") + content)
        return digest.hexdigest()

    def close(self) -> None:
        """Closes every descriptor."""
        self._closer()

    def _locate(self, name: str) -> tuple[int, str]:
        reason = refusal_of_name(name, self._limits.max_name_chars)
        if reason is not None:
            raise RowError("unsafe_entry", f"the name {quote(name)} {reason}")
        parent, _, last = name.rpartition("/")
        return self._folders.descriptor(parent), last

    def _status(self, name: str) -> os.stat_result:
        with self._lock:
            try:
                folder, last = self._locate(name)
                return os.stat(last, dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                raise _missing(name, error) from error

    def _refusal_of(self, name: str, status: os.stat_result) -> RowError | None:
        if stat.S_ISDIR(status.st_mode):
            return RowError("missing_file", f"{quote(name)} is a folder")
        if not stat.S_ISREG(status.st_mode):
            what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "a device, a FIFO or a socket"
            return RowError("unsafe_entry", f"{quote(name)} is {what}; only regular files are read")
        if status.st_size > self._limits.max_member_bytes:
            return RowError(
                "exceeds_limit",
                f"{quote(name)} has {status.st_size} bytes; {self._limits.max_member_bytes} are allowed",
            )
        return None


def _missing(name: str, error: OSError) -> RowError:
    # ELOOP and ENOTDIR are what O_NOFOLLOW answers for a link; a link is an attack or an accident.
    code = "missing_file" if isinstance(error, FileNotFoundError) else "unsafe_entry"
    reason = "there is no such file" if code == "missing_file" else error.strerror
    return RowError(code, f"cannot read {quote(name)}: {reason}")
