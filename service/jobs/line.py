"""Who is next: the order in which waiting jobs are taken.

A job of its own comes before a child of a comparison of which others run already; among comparisons, the one
of which the fewest run comes first; then whoever waits longest. So a comparison of a hundred trainings keeps
nobody waiting for longer than one of them, and is itself never left without one that runs.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    bindparam,
    func,
    literal,
    literal_column,
    null,
    select,
    union_all,
)
from sqlalchemy import Table as SqlTable
from sqlalchemy.orm import Session

from service.db import db_now
from service.tables import Job

_JOBS = cast(SqlTable, Job.__table__)

# As literals: an index over a part of the table is used only where the statement itself says the condition.
_QUEUED: ColumnElement[str] = literal_column("'queued'")
_RUNNING: ColumnElement[str] = literal_column("'running'")
IS_IN_LINE = (_JOBS.c.state == _QUEUED, _JOBS.c.waits_for.is_(None))
"""A worker may take the job, once its time has come."""
IS_WAITING = (_JOBS.c.state == _QUEUED, _JOBS.c.parent_id.is_(None))
"""The job counts as one that waits: a comparison does, its children do not."""

_IS_DUE = (*IS_IN_LINE, _JOBS.c.available_at <= db_now(), _JOBS.c.gpus <= bindparam("gpus"))
_BY_AGE = (_JOBS.c.available_at, _JOBS.c.id)

_NEXT = select(_JOBS.c.id).where(*_IS_DUE, _JOBS.c.parent_id.is_(None)).order_by(*_BY_AGE).limit(1)
_NEXT_UNLOCKED = _NEXT.with_for_update(skip_locked=True)  # SQLite ignores it: its transaction is alone anyway
_NEXT_CHILD = (
    select(_JOBS.c.id)
    .where(*_IS_DUE, _JOBS.c.parent_id == bindparam("parent_id"))
    .order_by(*_BY_AGE)
    .limit(1)
)
_LOCK = select(_JOBS.c.id).where(_JOBS.c.id == bindparam("job_id")).with_for_update(key_share=True)


def _heads() -> CompoundSelect[Any]:
    """The first of the jobs that stand alone, and the first of the families."""
    single: Select[Any] = (
        select(_JOBS.c.id, _JOBS.c.available_at, null().label("parent_id"), literal(0).label("num_running"))
        .where(*_IS_DUE, _JOBS.c.parent_id.is_(None))
        .order_by(*_BY_AGE)
        .limit(1)
    )
    families = (
        select(_JOBS.c.parent_id, func.min(_JOBS.c.available_at).label("available_at"))
        .where(*_IS_DUE, _JOBS.c.parent_id.is_not(None))
        .group_by(_JOBS.c.parent_id)
        .subquery("families")
    )
    num_running = (
        select(func.count())
        .where(_JOBS.c.parent_id == families.c.parent_id, _JOBS.c.state == _RUNNING)
        .scalar_subquery()
        .label("num_running")
    )
    family: Select[Any] = (
        select(families.c.parent_id.label("id"), families.c.available_at, families.c.parent_id, num_running)
        .order_by(num_running, families.c.available_at, families.c.parent_id)
        .limit(1)
    )
    heads = union_all(select(single.subquery("single")), select(family.subquery("family")))
    return heads.order_by("num_running", "available_at", "id").limit(1)


_HEADS = _heads()


def is_anyone_due(session: Session, gpus: int = 1) -> bool:
    """Whether a worker with so many GPUs would find something to do; a look, which takes no lock."""
    return session.execute(_HEADS, {"gpus": max(1, gpus)}).one_or_none() is not None


def next_in_line(session: Session, gpus: int = 1) -> str | None:
    """The job to be claimed next; its parent, if it has one, is locked.

    Args:
        session: Of `Database.write()`.
        gpus: That the worker has for one job; jobs that need more are passed over. A CPU counts as one.

    Returns:
        Its id; somebody else may be faster. None when no job is due.
    """
    has = {"gpus": max(1, gpus)}
    head = session.execute(_HEADS, has).one_or_none()
    if head is None:
        return None
    if head.parent_id is not None:
        session.execute(_LOCK, {"job_id": head.parent_id})
        child: str | None = session.execute(_NEXT_CHILD, {"parent_id": head.parent_id, **has}).scalar()
        return child
    # One that another worker is about to take is passed over.
    return session.execute(_NEXT_UNLOCKED, has).scalar() or str(head.id)
