"""How many jobs of an owner wait, and whether there is room for one more."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Integer, ScalarSelect, bindparam, func, select
from sqlalchemy import Table as SqlTable
from sqlalchemy.orm import Session

from service.errors import QueueFullError
from service.jobs.line import IS_WAITING
from service.locks import lock_number
from service.tables import Job

MARGIN = 200
"""Nearer to the limit than this, jobs are counted one transaction after the other."""
RETRY_AFTER_S = 30
"""When the queue is full: about as long as a short job takes."""

_JOBS = cast(SqlTable, Job.__table__)

NUM_WAITING: ScalarSelect[Any] = (
    select(func.count())
    .select_from(
        select(_JOBS.c.id)
        .where(_JOBS.c.owner_id == bindparam("owner_id"), *IS_WAITING)
        .limit(bindparam("at_most", type_=Integer))
        .subquery()
    )
    .scalar_subquery()
)
"""Jobs of `owner_id` that wait, counted up to `at_most`: a column for a statement that is needed anyway.

A comparison counts as one: its children are as many as its spec says, and come with it."""
_COUNT = select(NUM_WAITING)


def count_waiting(session: Session, owner_id: str, limit: int) -> int:
    """Jobs of an owner that wait, counted up to the limit."""
    found: int = session.execute(_COUNT, {"owner_id": owner_id, "at_most": limit}).scalar_one()
    return found


def check_room(session: Session, owner_id: str, num_waiting: int, limit: int) -> None:
    """Makes sure that the owner may have one more job waiting, decided in the transaction that adds it.

    Near the limit other transactions of this owner are kept from counting until this one ends: of many
    that come at once no more pass than there is room for.

    Args:
        session: The transaction.
        owner_id: Whose jobs.
        num_waiting: As `NUM_WAITING` told in this transaction.
        limit: Most jobs that may wait.

    Raises:
        QueueFullError: There is no room.
    """
    # SQLite has one writer: what it counts stays true.
    if num_waiting + MARGIN >= limit and session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(lock_number("waiting", owner_id))))
        num_waiting = count_waiting(session, owner_id, limit)
    if num_waiting >= limit:
        raise QueueFullError(
            f"{limit} jobs are waiting already; come back when some have begun.",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
