"""Where datasets, models and artifacts are kept, behind one small interface. A local folder for now.

Keys are made by the service from ids, never from what a user wrote. An object appears under its key complete
or not at all, and never changes afterwards: neither by a second `put` nor through a file that `fetch` made.

What a process that died leaves behind is named `.<random>.tmp`; `remove_temporaries` removes it by its age.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_MAX_KEY = 400
_MAX_PART = 255
"""Longest name of a file that common file systems take."""
_BLOCK_BYTES = 1 << 20
_READ_ONLY = 0o400
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})
"""Another disk, or one that has no hard links: a copy is as good."""


@dataclass(frozen=True)
class Stored:
    """An object as it lies there."""

    key: str
    size_bytes: int
    sha256: str


class Storage(Protocol):
    """What the service and its workers need of an object store."""

    def put(self, key: str, source: Path) -> Stored:
        """Stores a file, hashing what was written. The same content once more is fine.

        Raises:
            FileExistsError: The key holds other content.
        """

    def open(self, key: str) -> BinaryIO:
        """Opens an object for reading, seekable.

        Raises:
            FileNotFoundError: There is none.
        """

    def fetch(self, key: str, target: Path) -> None:
        """Makes an object, or everything below a prefix, available as a local file or folder, read-only.

        Raises:
            FileNotFoundError: There is none.
            FileExistsError: Something is at `target` already.
        """

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys below a prefix."""

    def delete(self, key: str) -> None:
        """Removes an object or everything below a prefix; not there is fine."""


class LocalStorage:
    """`Storage` in a folder. Files are fsynced before they get their name."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, source: Path) -> Stored:
        """See `Storage.put`."""
        target = self._path(key)
        _make_folder(target.parent)
        temporary = target.with_name(f".{secrets.token_hex(16)}.tmp")
        digest, size = hashlib.sha256(), 0
        try:
            with source.open("rb") as reader, temporary.open("xb") as writer:
                os.fchmod(writer.fileno(), _READ_ONLY)
                while block := reader.read(_BLOCK_BYTES):
                    digest.update(block)
                    size += len(block)
                    writer.write(block)
                writer.flush()
                os.fsync(writer.fileno())
            stored = Stored(key, size, digest.hexdigest())
            self._name(temporary, target, stored)
        finally:
            temporary.unlink(missing_ok=True)
        return stored

    def adopt(self, key: str, source: Path) -> None:
        """Gives a file of ours, already hashed and fsynced, a key as well.

        Nothing may write to the source any more; the caller removes it when its own record is committed.

        Raises:
            FileExistsError: The key is taken.
        """
        target = self._path(key)
        _make_folder(target.parent)
        source.chmod(_READ_ONLY)
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self.put(key, source)
        else:
            _sync_folder(target.parent)

    def open(self, key: str) -> BinaryIO:
        """See `Storage.open`."""
        descriptor = os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "is a prefix", key)
        return os.fdopen(descriptor, "rb")

    def fetch(self, key: str, target: Path) -> None:
        """See `Storage.fetch`: links, since objects never change."""
        source = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, target, copy_function=_link_or_copy, ignore=shutil.ignore_patterns(".*.tmp")
            )
        else:
            _link_or_copy(str(source), str(target))

    def keys(self, prefix: str) -> Iterator[str]:
        """See `Storage.keys`."""
        folder = self._path(prefix)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(self._root).as_posix()

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        path = self._path(key)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def remove_temporaries(self, older_than_s: float) -> int:
        """Removes what processes that died were writing.

        Args:
            older_than_s: Seconds since the last byte; a file that is being written is younger.

        Returns:
            The number of files removed.
        """
        before, removed = time.time() - older_than_s, 0
        for path in self._root.rglob(".*.tmp"):
            try:
                if path.lstat().st_mtime < before:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its writer was only slow, or another sweep was faster
        return removed

    def _name(self, temporary: Path, target: Path, stored: Stored) -> None:
        """Gives a finished file its name, unless the name is taken: a rename would replace what is there."""
        try:
            os.link(temporary, target)
        except FileExistsError:
            if target.is_dir() or _hash(target) != stored.sha256:
                raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if target.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
            temporary.rename(target)
        _sync_folder(target.parent)

    def _path(self, key: str) -> Path:
        # Keys are ours, so this never fires; it is the second wall against a traversal.
        if len(key) > _MAX_KEY or not _KEY.fullmatch(key) or max(map(len, key.split("/"))) > _MAX_PART:
            raise ValueError(f"not a storage key: {key[:_MAX_KEY]!r}")
        path = self._root / key
        if not path.parent.resolve().is_relative_to(self._root.resolve()):
            raise ValueError(f"a link leads out of the storage: {key!r}")
        return path


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def _make_folder(folder: Path) -> None:
    """Creates a folder and its parents, each on disk before anything is put into it."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
