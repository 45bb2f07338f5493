"""Files that a running server leaves: the lock of its data folder, and the note by which `fdkd` finds it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fdkd_client.discovery import local_server_path, read_local_server
from fdkd_client.errors import ConfigurationError, FDKDClientError

LOCK_FILE = "serve.lock"


class ServeError(FDKDClientError):
    """A local server cannot be run."""


@contextmanager
def locked(data_dir: Path, url: str) -> Iterator[None]:
    """Holds the data folder for one server.

    Raises:
        ServeError: Another server has it, or it cannot be written.
    """
    path = data_dir / LOCK_FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ServeError(f"The data folder {data_dir} cannot be used: {error.strerror}") from None
    with open(descriptor, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            by = file.read(1000).strip() or "another process"
            raise ServeError(
                f"{data_dir} is served already, by {by}. Use that server, stop it, or name another "
                "folder with --data-dir."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} at {url}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@contextmanager
def announced(url: str, api_key: str | None) -> Iterator[Path]:
    """Leaves the note for `fdkd` commands of this user while the server runs; the newest server has it.

    Raises:
        ServeError: It cannot be written.
    """
    path = local_server_path()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    content = {"url": url, "api_key": api_key, "pid": os.getpid()}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)
        temporary.replace(path)
    except OSError as error:
        raise ServeError(f"{path} cannot be written: {error.strerror}") from None
    try:
        yield path
    finally:
        # Another server may have put its own there since.
        with suppress(OSError, ConfigurationError):
            present = read_local_server()
            if present is not None and present.pid == os.getpid():
                path.unlink()
