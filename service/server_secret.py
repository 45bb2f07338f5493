"""Random bytes that this installation alone knows, for sealing what clients carry and hand back."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

FILE_NAME = "secret"
_SIZE_BYTES = 32


def load_secret(data_dir: Path) -> bytes:
    """Reads the secret of the data folder, made (mode 0600) when it is asked for first.

    Raises:
        ValueError: The file is too short to be one.
    """
    path = data_dir / FILE_NAME
    if not path.exists():
        _make(path)
    secret = path.read_bytes()
    if len(secret) < _SIZE_BYTES:
        raise ValueError(f"{path} holds {len(secret)} bytes; a secret has {_SIZE_BYTES}")
    return secret


def derive_key(secret: bytes, *purpose: str) -> bytes:
    """Derives the key of one purpose, 32 bytes; keys of different purposes tell nothing about each other."""
    labels = b"".join(len(part := text.encode()).to_bytes(4, "big") + part for text in purpose)
    return hmac.digest(secret, labels, hashlib.sha256)


def _make(path: Path) -> None:
    # Linked into place, so that of two processes that start together both read the same, complete file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_SIZE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass  # another process was first
    finally:
        temporary.unlink()
