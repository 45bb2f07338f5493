"""Who is calling: API keys, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import SecurityScopes
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service.context import Context
from service.db import Database, db_now
from service.errors import MissingScopeError, UnauthenticatedError
from service.identifiers import new_id
from service.tables import ApiKey

PUBLIC_PATHS = frozenset({"/livez", "/readyz"})
"""All that is answered without a key; anything else is refused before it is looked up."""

REMEMBERED_S = 5.0
_MAX_REMEMBERED = 1024


@dataclass(frozen=True)
class Caller:
    """The owner on whose behalf a request is made."""

    key_id: str
    owner_id: str
    scopes: frozenset[str]


def create_key(
    session: Session, *, owner_id: str, name: str, scopes: list[str], expires_in: timedelta | None = None
) -> str:
    """Makes a key and stores its hash.

    Returns:
        The key, which is shown this once: `fdkd_` and 43 characters, 256 random bits.
    """
    key = new_key()
    enter_key(session, key, owner_id=owner_id, name=name, scopes=scopes, expires_in=expires_in)
    return key


def new_key() -> str:
    """A key that nobody has yet."""
    return "fdkd_" + secrets.token_urlsafe(32)


def enter_key(
    session: Session,
    key: str,
    *,
    owner_id: str,
    name: str,
    scopes: list[str],
    expires_in: timedelta | None = None,
) -> None:
    """Stores the hash of a key, which makes it valid."""
    session.add(
        ApiKey(
            id=new_id("key"),
            owner_id=owner_id,
            name=name,
            sha256=hash_key(key),
            scopes=scopes,
            expires_at=db_now(expires_in.total_seconds()) if expires_in else None,
        )
    )


def hash_key(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class KeyRing:
    """Checks keys against the database, and remembers the good ones for `REMEMBERED_S` seconds.

    So a revoked or expired key may live on for that long in each API process; in return a request costs no
    query and no thread for its key. Only keys that were found are remembered: guesses neither fill the memory
    nor can their answers be told apart, since each of them costs the same query for a hash.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._remembered: dict[str, tuple[Caller, float]] = {}

    async def caller(self, authorization: list[str]) -> Caller:
        """Finds out who is calling.

        Args:
            authorization: The values of all `Authorization` headers.

        Raises:
            UnauthenticatedError: No key, several, or one that is unknown, revoked or expired.
        """
        if len(authorization) != 1:
            raise UnauthenticatedError
        scheme, _, key = authorization[0].partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise UnauthenticatedError
        digest = hash_key(key)
        remembered = self._remembered.get(digest)
        if remembered is not None and remembered[1] > time.monotonic():
            return remembered[0]
        asked_at = time.monotonic()
        caller = await run_in_threadpool(find_caller, self._database, digest)
        if caller is None:
            self._remembered.pop(digest, None)
            raise UnauthenticatedError
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[digest] = caller, asked_at + REMEMBERED_S
        return caller


def find_caller(database: Database, digest: str) -> Caller | None:
    """Looks up an active key by its SHA-256."""
    with database.read() as session:
        row = session.execute(
            select(ApiKey.id, ApiKey.owner_id, ApiKey.scopes).where(
                ApiKey.sha256 == digest,
                ApiKey.revoked_at.is_(None),
                (ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > db_now()),
            )
        ).one_or_none()
    return None if row is None else Caller(row.id, row.owner_id, frozenset(row.scopes))


async def get_context(request: Request) -> Context:
    """The process's resources."""
    # Async, although it waits for nothing: a plain function would cost a trip to a thread.
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(get_context)]


async def authorize(request: Request, scopes: SecurityScopes) -> Caller:
    """The caller whom the edge has found, if the key allows what the route needs.

    Raises:
        UnauthenticatedError: Nobody was found; the edge lets no such request through.
        MissingScopeError: The key does not allow this.
    """
    caller: Caller | None = request.scope.get("fdkd.caller")
    if caller is None:
        raise UnauthenticatedError
    for scope in scopes.scopes:
        if scope not in caller.scopes:
            raise MissingScopeError(f"The API key lacks the scope {scope!r}.")
    return caller


Reader = Annotated[Caller, Security(authorize, scopes=["read"])]
"""Parameter type of handlers that only look."""

Writer = Annotated[Caller, Security(authorize, scopes=["write"])]
"""Parameter type of handlers that change something."""
