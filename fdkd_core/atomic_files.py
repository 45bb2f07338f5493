"""Files that are either whole or absent, whatever happens while they are written. No torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fdkd_core.errors import STORAGE_ERRNOS, StorageError

_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Turns a full or failing disk into StorageError; every other OSError passes unchanged."""
    try:
        yield
    except OSError as error:
        if error.errno in STORAGE_ERRNOS:
            raise StorageError(f"cannot write the output: {error.strerror}") from error
        raise


def fsync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable: a rename is only on disk once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Replaces `path` by `data` so that a reader, or a restart after a crash, sees old or new, never half.

    The temporary file is a dot file in the same folder, since a rename is atomic within a file system only.

    Args:
        path: The file to write; its folder must exist.
        data: The whole content.

    Raises:
        StorageError: The disk is full, over quota or failing. Nothing is left behind.
    """
    target = Path(path)
    with storage_errors():
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                # mkstemp makes 0600; outputs are meant to be read by whoever may read the folder.
                os.fchmod(file.fileno(), 0o644)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        fsync_folder(target.parent)


def write_json_atomic(path: str | os.PathLike[str], obj: Any) -> None:
    """Writes `obj` as UTF-8 JSON with sorted keys, so that equal content gives equal bytes.

    Raises:
        ValueError: A number is NaN or infinite, which JSON cannot say.
        StorageError: As for `write_atomic`.
    """
    text = json.dumps(obj, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomic(path, (text + "\n").encode())


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes as 64 hexadecimal digits, read in chunks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
