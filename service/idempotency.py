"""Requests that make something at most once, however often they are sent (`Idempotency-Key`).

The answer is stored in the transaction that makes the thing, so that there is never one without the other.
Only success is stored: a request that was refused is judged anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from service.answers import json_bytes
from service.db import db_now
from service.errors import (
    IdempotencyInProgressError,
    IdempotencyKeyReusedError,
    InvalidIdempotencyKeyError,
)
from service.locks import lock_number
from service.tables import IdempotencyKey

HEADER = "Idempotency-Key"
MAX_LENGTH = 255
RETRY_AFTER_S = 1


@dataclass(frozen=True)
class Intent:
    """A request that wants to be served once."""

    owner_id: str
    route: str
    """Method and path: the same key may be used elsewhere for something else."""
    key: str
    body_sha256: str

    @classmethod
    def of(cls, owner_id: str, route: str, key: str, body: Any) -> Intent:
        """An intent whose body is told apart by its content, not by its spaces or the order of its keys."""
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
        return cls(owner_id, route, key, hashlib.sha256(canonical.encode()).hexdigest())


@dataclass(frozen=True)
class Made:
    """The answer to a request that made something."""

    location: str
    body: str
    status: int = 201
    replayed: bool = False

    @classmethod
    def at(cls, location: str, document: Any) -> Made:
        """The first answer, about a thing that is now at `location`."""
        return cls(location, json_bytes(document).decode())

    def response(self) -> Response:
        """The answer as it is sent, first and every later time."""
        headers = {"Location": self.location}
        if self.replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response(self.body, self.status, headers, "application/json")


async def read_key(request: Request) -> str | None:
    """Reads the header; None when there is none.

    Raises:
        InvalidIdempotencyKeyError: It is empty, too long, not printable ASCII, or there are two.
    """
    values = request.headers.getlist(HEADER)
    if not values:
        return None
    key = values[0]
    if len(values) > 1 or not 1 <= len(key) <= MAX_LENGTH or not (key.isascii() and key.isprintable()):
        raise InvalidIdempotencyKeyError
    return key


RequestKey = Annotated[str | None, Depends(read_key)]
"""Parameter type of handlers that make something at most once; document it with `KEY_PARAMETER`."""

KEY_PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": (
        "Makes it safe to send this request again. For 24 hours the same key with the same body gets the "
        "first answer once more, with `Idempotent-Replayed: true`, and nothing is made twice; another body "
        "is refused (422 `idempotency_key_reused`). While the first request is being served: 409 "
        "`idempotency_in_progress`. Requests that were refused are not remembered."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH},
}


def recall(session: Session, intent: Intent) -> Made | None:
    """Finds the answer that was given to this intent before, and keeps others with this key out meanwhile.

    Raises:
        IdempotencyInProgressError: A request with this key is being served just now.
        IdempotencyKeyReusedError: The key was used with another body.
    """
    _take_turn(session, intent)
    row = session.execute(
        select(
            IdempotencyKey.body_sha256,
            IdempotencyKey.status,
            IdempotencyKey.location,
            IdempotencyKey.body,
            (IdempotencyKey.expires_at <= db_now()).label("expired"),
        ).where(*_same(intent))
    ).one_or_none()
    if row is None:
        return None
    if row.expired:
        session.execute(delete(IdempotencyKey).where(*_same(intent)))
        return None
    if row.body_sha256 != intent.body_sha256:
        raise IdempotencyKeyReusedError
    return Made(row.location, row.body, row.status, replayed=True)


def remember(session: Session, intent: Intent, made: Made, expiry_s: float) -> None:
    """Stores an answer for `expiry_s` seconds, in the transaction that makes what it speaks of."""
    session.execute(
        insert(IdempotencyKey).values(
            owner_id=intent.owner_id,
            route=intent.route,
            key=intent.key,
            body_sha256=intent.body_sha256,
            status=made.status,
            location=made.location,
            body=made.body,
            expires_at=db_now(expiry_s),
        )
    )


def _take_turn(session: Session, intent: Intent) -> None:
    # SQLite has one writer, so whoever comes second has waited and finds the answer.
    if session.get_bind().dialect.name != "postgresql":
        return
    number = lock_number("idempotency", intent.owner_id, intent.route, intent.key)
    if not session.execute(select(func.pg_try_advisory_xact_lock(number))).scalar_one():
        raise IdempotencyInProgressError(headers={"Retry-After": str(RETRY_AFTER_S)})


def _same(intent: Intent) -> tuple[Any, ...]:
    return (
        IdempotencyKey.owner_id == intent.owner_id,
        IdempotencyKey.route == intent.route,
        IdempotencyKey.key == intent.key,
    )
