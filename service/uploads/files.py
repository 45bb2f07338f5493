"""Where bodies lie while they arrive, and what of them is left over when a server was killed.

All of it is in `settings.uploads_dir`, under two kinds of names:

* `<upload id>.part`: the bytes of a resumable upload. Its row keeps it; without a row it is left over.
* `<random>.body`: of a request that is being served, which removes it at its end. While it grows it is never
  untouched for long, because a body that stops coming is given up within a minute (`service.edge`).

So a file that was not touched for an hour, and is not the part of a row, belongs to nobody. Storage follows
the same rule: `service.storage` says it of temporary files, and an object that has no row after an hour never
gets one.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import delete, select

from service.db import Database, db_now
from service.errors import NotFoundError
from service.tables import Upload

LEFT_OVER_S = 3600.0
"""Without a change for so long, in seconds."""
EXPIRED_KEPT_S = 3600.0
"""How long an expired upload still answers 410 before it is forgotten (404)."""


def new_body_path(folder: Path) -> Path:
    """A name for a body that arrives in one request."""
    return folder / f"{secrets.token_hex(16)}.body"


def part_path(folder: Path, upload_id: str) -> Path:
    """The file of a resumable upload; the id is ours, and was checked to be one."""
    return folder / f"{upload_id}.part"


def make_part(folder: Path, upload_id: str) -> None:
    """Creates the empty file of a resumable upload, so that later writes never create one."""
    os.close(os.open(part_path(folder, upload_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked_part(folder: Path, upload_id: str) -> Iterator[int]:
    """Opens the file of a resumable upload for one writer at a time, across processes.

    Raises:
        NotFoundError: It is gone.
    """
    try:
        descriptor = os.open(part_path(folder, upload_id), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFoundError.of("upload", upload_id) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def write_block(descriptor: int, offset: int, block: bytes) -> None:
    """Writes a block and waits until it is on disk."""
    view = memoryview(block)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
    os.fsync(descriptor)


def remove_expired(database: Database, folder: Path) -> int:
    """Forgets uploads that expired `EXPIRED_KEPT_S` seconds ago, with their bytes.

    Returns:
        How many.
    """
    with database.write() as session:
        expired = session.scalars(
            delete(Upload).where(Upload.expires_at < db_now(-EXPIRED_KEPT_S)).returning(Upload.id)
        ).all()
    for upload_id in expired:
        part_path(folder, upload_id).unlink(missing_ok=True)
    return len(expired)


def remove_left_over(database: Database, folder: Path, older_than_s: float = LEFT_OVER_S) -> int:
    """Removes what killed servers left in the folder.

    Args:
        database: Names the uploads that live.
        folder: `settings.uploads_dir`.
        older_than_s: Seconds without a change.

    Returns:
        How many files.
    """
    before = time.time() - older_than_s
    # Files first, rows second: an upload that begins in between is in the rows.
    old = [entry for entry in os.scandir(folder) if entry.stat(follow_symlinks=False).st_mtime < before]
    with database.read() as session:
        living = {f"{upload_id}.part" for upload_id in session.scalars(select(Upload.id))}
    doomed = [entry for entry in old if entry.name.endswith((".body", ".part")) and entry.name not in living]
    for entry in doomed:
        Path(entry.path).unlink(missing_ok=True)
    return len(doomed)
