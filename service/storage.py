"""Where datasets, models and artifacts are kept, behind one small interface. A local folder for now.

Keys are made by the service from ids, never from what a user wrote. An object appears under its key complete or
not at all, and is never changed afterwards.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True)
class Stored:
    """An object as it lies there."""

    key: str
    size_bytes: int
    sha256: str


class Storage(Protocol):
    """What the service and its workers need of an object store."""

    def put(self, key: str, source: Path) -> Stored:
        """Stores a file, hashing what was written; the source may be linked instead of copied."""

    def open(self, key: str) -> BinaryIO:
        """Opens an object for reading, seekable.

        Raises:
            FileNotFoundError: There is none.
        """

    def fetch(self, key: str, target: Path) -> None:
        """Makes an object, or everything below a prefix, available as a local file or folder, read-only."""

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
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        digest, size = hashlib.sha256(), 0
        try:
            with source.open("rb") as reader, temporary.open("xb") as writer:
                os.fchmod(writer.fileno(), 0o600)
                while block := reader.read(1 << 20):
                    digest.update(block)
                    size += len(block)
                    writer.write(block)
                writer.flush()
                os.fsync(writer.fileno())
            temporary.rename(target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)
        return Stored(key, size, digest.hexdigest())

    def adopt(self, key: str, source: Path) -> None:
        """Moves a file of the same disk, already hashed and fsynced, under a key."""
        target = self._path(key)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        source.rename(target)
        _sync_folder(target.parent)

    def open(self, key: str) -> BinaryIO:
        """See `Storage.open`."""
        return self._path(key).open("rb")

    def fetch(self, key: str, target: Path) -> None:
        """See `Storage.fetch`: links, since objects never change."""
        source = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, copy_function=_link_or_copy)
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

    def _path(self, key: str) -> Path:
        # Keys are ours, so this never fires; it is the second wall against a traversal.
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a storage key: {key!r}")
        return self._root / key


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
