"""Who is calling: API keys, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import Depends, Request, Security
from fastapi.security import SecurityScopes
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.context import Context
from service.db import db_now
from service.errors import MissingScopeError, UnauthenticatedError
from service.identifiers import new_id
from service.tables import ApiKey

Scope = Literal["read", "write"]
SCOPES: dict[str, str] = {"read": "Look at everything of the owner.", "write": "Create, cancel and delete."}


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
    key = "fdkd_" + secrets.token_urlsafe(32)
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
    return key


def hash_key(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def get_context(request: Request) -> Context:
    """The process's resources."""
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(get_context)]


def authenticate(request: Request, context: Ctx, scopes: SecurityScopes) -> Caller:
    """The caller, or a refusal.

    Raises:
        UnauthenticatedError: No key, or one that is unknown, revoked or expired.
        MissingScopeError: The key does not allow this.
    """
    headers = request.headers.getlist("authorization")
    if len(headers) != 1 or not headers[0].startswith("Bearer "):
        raise UnauthenticatedError
    with context.database.read() as session:
        row = session.execute(
            select(ApiKey.id, ApiKey.owner_id, ApiKey.scopes).where(
                ApiKey.sha256 == hash_key(headers[0].removeprefix("Bearer ")),
                ApiKey.revoked_at.is_(None),
                (ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > db_now()),
            )
        ).one_or_none()
    if row is None:
        raise UnauthenticatedError
    caller = Caller(row.id, row.owner_id, frozenset(row.scopes))
    missing = [scope for scope in scopes.scopes if scope not in caller.scopes]
    if missing:
        raise MissingScopeError(f"The API key lacks the scope {missing[0]!r}.")
    return caller


Reader = Annotated[Caller, Security(authenticate, scopes=["read"])]
"""Parameter type of handlers that only look."""

Writer = Annotated[Caller, Security(authenticate, scopes=["write"])]
"""Parameter type of handlers that change something."""
