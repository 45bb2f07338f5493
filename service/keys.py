"""API keys from the command line, and the key that a local installation makes for itself."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, and_, func, or_, select, update

from service.auth import create_key, enter_key, hash_key, new_key
from service.context import Context
from service.db import Database, db_now
from service.errors import NotFoundError
from service.scopes import LOCAL_OWNER, SCOPES
from service.tables import ApiKey

LOCAL_KEY_FILE = "api-key"
_KEY = re.compile(r"fdkd_[A-Za-z0-9_-]{43}")


def create(
    database: Database, *, owner_id: str, name: str, scopes: list[str], expires_in: timedelta | None = None
) -> str:
    """Makes a key, which is valid for so long; None: until it is revoked.

    Returns:
        The key, which can never be shown again.
    """
    with database.write() as session:
        return create_key(session, owner_id=owner_id, name=name, scopes=scopes, expires_in=expires_in)


def list_all(database: Database) -> Sequence[ApiKey]:
    """Every key there ever was, oldest first; the keys themselves are not kept."""
    with database.read() as session:
        return session.scalars(select(ApiKey).order_by(ApiKey.id)).all()


def revoke(database: Database, key_id: str) -> None:
    """Makes a key useless, everywhere within `auth.REMEMBERED_S` seconds; again is fine.

    Raises:
        NotFoundError: There is no such key.
    """
    with database.write() as session:
        found = session.execute(
            update(ApiKey)
            .where(ApiKey.id == key_id)
            .values(revoked_at=func.coalesce(ApiKey.revoked_at, db_now()))
            .returning(ApiKey.id)
        ).one_or_none()
        if found is None:
            raise NotFoundError(f"There is no key {key_id}.")


def has_active_key(database: Database) -> bool:
    """Whether anybody could get in."""
    with database.read() as session:
        return session.scalar(select(ApiKey.id).where(_is_active()).limit(1)) is not None


def ensure_local_key(context: Context) -> str:
    """Gives whoever can read the data folder a key: made at the first start, kept in a file with mode 0600.

    A file that went missing or holds no key is replaced by one with a new key. A key that the database does
    not know, because the database was lost or replaced, is entered again: only the folder's owner could write
    it there. One that was revoked or has expired is not taken up; a new one takes its place.

    Returns:
        The key, active in the database.
    """
    path = context.settings.data_dir / LOCAL_KEY_FILE
    with _alone(path.with_name(f".{LOCAL_KEY_FILE}.lock")):
        key = _read(path)
        if key is None or not _take_up(context.database, key):
            # Into the file first: a crash in between leaves a key to enter, not one that nobody knows.
            key = new_key()
            _write(path, key)
            _take_up(context.database, key)
    return key


def _take_up(database: Database, key: str) -> bool:
    """Whether the key is active, after it was entered if it was unknown."""
    with database.write() as session:
        is_active = session.scalar(select(_is_active()).where(ApiKey.sha256 == hash_key(key)))
        if is_active is None:
            enter_key(session, key, owner_id=LOCAL_OWNER, name="local", scopes=list(SCOPES))
    return is_active is None or bool(is_active)


def _is_active() -> ColumnElement[bool]:
    return and_(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > db_now()))


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Keeps out other processes that start over the same folder."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> str | None:
    """The key in the file, closed to others if it was open to them; None when it holds none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, errors="replace") as file:
        text = file.read(200).strip()
        os.fchmod(file.fileno(), 0o600)
    return text if _KEY.fullmatch(text) else None


def _write(path: Path, key: str) -> None:
    """Complete or not at all, and never readable by others."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
