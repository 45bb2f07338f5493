"""A folder of files that can be made again, kept below a number of bytes. No torch.

What was not used longest makes room for what is new.

Any number of processes may use one folder. Who writes holds a lock on it, makes room first and then renames a
complete file into place, so the folder is never over its bound and never has half a file under a real name.
Beside a file that is being made lies an empty one, which its maker has locked.
Who reads takes no lock: a file that is removed while it is open stays readable until it is closed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from fdkd_core.atomic_files import storage_errors, write_atomic
from fdkd_core.errors import StorageError

LOCK_WAIT_S = 10.0
"""How long a writer waits for another: longer than a file takes. Who holds the lock for longer hangs, and
what was to be written can be made again."""
MAKE_WAIT_S = 600.0
"""How long a process waits for another that makes the same file. Who takes longer hangs, or makes what is
large: then both make it."""
_LOOK_S = 0.02


class BoundedFolder:
    """The folder; made when first written to.

    Args:
        path: Where it is. On a file system that cannot lock folders (some network shares) nothing is kept.
        max_bytes: Of all its files together.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes

    def mark_used(self, name: str) -> None:
        """Notes that a file was of use: by its time of change, since times of reading are often not kept."""
        with contextlib.suppress(OSError):  # it is gone, or the folder is there for reading only
            os.utime(self.path / name)

    def drop(self, name: str) -> None:
        """Removes a file that is of no use, if it is there."""
        with contextlib.suppress(OSError):
            (self.path / name).unlink()

    @contextlib.contextmanager
    def making(self, name: str) -> Iterator[bool]:
        """Around making a file that is not there: who comes second waits for who makes it already.

        Waiting ends when that process is through or has ended, however it ends; none of those who waited
        keeps others waiting, so that what cannot be kept is not made by one after the other.

        Yields:
            Whether it waited, so that the file may be there now.
        """
        path, has_waited, descriptor = self.path / f"{name}.lock", False, None
        # A folder that takes no locks keeps no files either: everybody makes their own.
        with contextlib.suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            has_waited = _wait_for(descriptor)
        try:
            yield has_waited
        finally:
            if descriptor is not None:
                if not has_waited:
                    with contextlib.suppress(OSError):
                        os.unlink(path)
                os.close(descriptor)

    def write(self, name: str, data: bytes) -> bool:
        """Keeps a file, for which others may have to go; one of the same name is replaced.

        Returns:
            Whether it was kept: not when it alone is larger than the bound.

        Raises:
            StorageError: The disk is full, or another process has held the folder for `LOCK_WAIT_S`.
            OSError: The folder cannot be made, locked or written.
        """
        if len(data) > self._max_bytes:
            return False
        with storage_errors():
            self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._make_room(self._max_bytes - len(data), replaced=name)
            write_atomic(self.path / name, data)
        return True

    def _make_room(self, max_bytes: int, *, replaced: str) -> None:
        """Removes files until no more than `max_bytes` are left, beside the one that is replaced anyway."""
        found: list[tuple[int, str, int]] = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # a sweep of old files takes no lock
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(".tmp"):
                        os.unlink(entry.path)  # writing needs the lock, so its writer is dead
                    elif entry.is_file(follow_symlinks=False) and entry.name != replaced:
                        found.append((status.st_mtime_ns, entry.name, status.st_size))
        left = sum(size for _, _, size in found)
        for _, name, size in sorted(found):
            if left <= max_bytes:
                return
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path / name)
            left -= size

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the folder; the kernel lets go of it when the process ends, however it ends."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            deadline = time.monotonic() + LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StorageError(f"{self.path} is held by another process") from None
                    time.sleep(_LOOK_S)
            yield
        finally:
            os.close(descriptor)


def _wait_for(descriptor: int) -> bool:
    """Locks a file at once, or waits until nobody holds it and leaves it free; whether it waited."""
    deadline = time.monotonic() + MAKE_WAIT_S
    has_waited = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            has_waited = True
            if time.monotonic() > deadline:
                return True
            time.sleep(_LOOK_S)
        else:
            if has_waited:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            return has_waited
