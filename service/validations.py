"""Uploads that wait to be read for the first time: workers take them like jobs, with a lease and an attempt.

There is no queue beside the rows: a dataset or model in the state `validating` without a live lease waits.
Deleting it takes it away from whoever holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, or_, select, update
from sqlalchemy.orm import Session

from service.db import db_now
from service.errors import StaleAttemptError
from service.queue import Subject
from service.tables import Dataset, Model

MAX_LOSSES = 3
"""Attempts that may be lost: a file whose reading kills its reader three times is not read again."""

_TABLES: dict[Subject, type[Dataset] | type[Model]] = {"dataset": Dataset, "model": Model}


@dataclass(frozen=True)
class Claim:
    """A file that one worker may read; every later call names it."""

    subject: Subject
    id: str
    attempt: int
    worker_id: str
    storage_key: str
    format: str
    architecture: dict[str, Any] | None
    """Of bare weights; a dataset has none."""


def claim(
    session: Session,
    worker_id: str,
    lease_s: float,
    subject: Subject | None = None,
    subject_id: str | None = None,
) -> Claim | None:
    """Takes the file that waits longest, or the given one if it still waits.

    Args:
        session: Of `Database.write()`.
        worker_id: Who takes it.
        lease_s: Seconds until it is lost, unless renewed.
        subject: Only this kind.
        subject_id: Only this one; needs `subject`.

    Returns:
        The claim; None when there is nothing to do.
    """
    give_up_lost(session)
    found: list[tuple[datetime, str, Subject]] = []
    for name, table in _TABLES.items():
        if subject in (None, name):
            found += [
                (created_at, row_id, name) for row_id, created_at in _oldest(session, table, subject_id)
            ]
    if not found:
        return None
    _, row_id, chosen = min(found)
    table = _TABLES[chosen]
    row = session.scalars(
        update(table)
        .where(table.id == row_id)
        .values(attempt=table.attempt + 1, worker_id=worker_id, lease_expires_at=db_now(lease_s))
        .returning(table)
    ).one()
    assert isinstance(row, Dataset | Model)
    return Claim(
        subject=chosen,
        id=row.id,
        attempt=row.attempt,
        worker_id=worker_id,
        storage_key=row.storage_key,
        format=row.format,
        architecture=row.architecture if isinstance(row, Model) else None,
    )


def renew(session: Session, claim: Claim, lease_s: float) -> None:
    """Keeps the claim for another `lease_s` seconds.

    Raises:
        StaleAttemptError: It is not the caller's any more: lost, or deleted by its owner.
    """
    _change(session, claim, lease_expires_at=db_now(lease_s))


def finish(
    session: Session,
    claim: Claim,
    *,
    report: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
    **columns: Any,
) -> None:
    """Makes the file `ready`, or with an error `invalid`.

    Args:
        session: Of `Database.write()`.
        claim: What was taken.
        report: What the core found.
        error: `{code, message, problems}`, when it cannot be used.
        columns: Further columns to set, such as the `storage_key` of an unpacked bundle.

    Raises:
        StaleAttemptError: It is not the caller's any more; nothing was written.
    """
    _change(
        session,
        claim,
        state="ready" if error is None else "invalid",
        report=report,
        error=error,
        validated_at=db_now(),
        worker_id=None,
        lease_expires_at=None,
        **columns,
    )


def release(session: Session, claim: Claim) -> None:
    """Gives the file back unread, without charge: the worker is shutting down.

    Raises:
        StaleAttemptError: It is not the caller's any more.
    """
    # The number may come again, but only for a claim of this worker after this one has ended.
    _change(session, claim, attempt=claim.attempt - 1, worker_id=None, lease_expires_at=None)


def give_up_lost(session: Session) -> int:
    """Makes files `invalid`, with the code `crashed`, whose reading was lost `MAX_LOSSES` times.

    Returns:
        How many.
    """
    error = {
        "code": "crashed",
        "message": f"Reading the file ended without an answer {MAX_LOSSES} times; it is not read again.",
        "problems": [],
    }
    given_up = 0
    for table in _TABLES.values():
        given_up += len(
            session.scalars(
                update(table)
                .where(_waits(table), table.attempt >= MAX_LOSSES)
                .values(
                    state="invalid",
                    error=error,
                    validated_at=db_now(),
                    worker_id=None,
                    lease_expires_at=None,
                )
                .returning(table.id)
                .execution_options(synchronize_session=False)
            ).all()
        )
    return given_up


def waiting(session: Session, older_than_s: float) -> list[tuple[Subject, str]]:
    """Lists what has waited longer than `older_than_s` seconds, for wake-ups that were lost; at most 100."""
    found: list[tuple[Subject, str]] = []
    for subject, table in _TABLES.items():
        statement = (
            select(table.id)
            .where(_waits(table), table.created_at < db_now(-older_than_s))
            .order_by(table.id)
            .limit(100)
        )
        found += [(subject, row_id) for row_id in session.scalars(statement)]
    return found[:100]


def _waits(table: type[Dataset] | type[Model]) -> ColumnElement[bool]:
    return (
        (table.state == "validating")
        & table.deleted_at.is_(None)
        & or_(table.lease_expires_at.is_(None), table.lease_expires_at < db_now())
    )


def _oldest(
    session: Session, table: type[Dataset] | type[Model], row_id: str | None
) -> Sequence[Row[str, datetime]]:
    """Locks the row that waits longest, or the given one; empty when there is none."""
    statement = (
        select(table.id, table.created_at)
        .where(_waits(table))
        .order_by(table.created_at, table.id)
        .limit(1)
        # SQLite ignores this: its write transaction is alone anyway.
        .with_for_update(skip_locked=True)
    )
    if row_id is not None:
        statement = statement.where(table.id == row_id)
    return session.execute(statement).all()


def _change(session: Session, claim: Claim, **values: Any) -> None:
    table = _TABLES[claim.subject]
    changed = session.execute(
        update(table)
        .where(
            table.id == claim.id,
            table.state == "validating",
            table.attempt == claim.attempt,
            table.worker_id == claim.worker_id,
            table.deleted_at.is_(None),
        )
        .values(**values)
        .returning(table.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if changed is None:
        raise StaleAttemptError(f"the validation of {claim.id} is not attempt {claim.attempt}'s any more")
