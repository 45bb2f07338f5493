"""Who is next: the order in which waiting jobs are taken.

A job that a worker gave back goes on first: its turn is not over. Then comes the owner of whom the fewest
jobs run, and of those with equally many the one whose last job ended longest ago: a lone worker takes turns.
Of one owner, a job of its own comes before a child of a comparison of which others run already; among
comparisons, the one of which the fewest run comes first; then whoever waits longest.

So nobody waits for longer than a training of each other owner, a comparison of a hundred trainings keeps its
owner's other jobs waiting for no longer than one of them, and is itself never left without one that runs.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import (
    CTE,
    ColumnElement,
    ScalarSelect,
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

_IS_ALONE, _IS_CHILD = _JOBS.c.parent_id.is_(None), _JOBS.c.parent_id.is_not(None)
_IS_DUE = (*IS_IN_LINE, _JOBS.c.available_at <= db_now(), _JOBS.c.gpus <= bindparam("gpus"))


def _first(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Of the jobs that are due, the one that waits longest."""
    return (
        select(_JOBS.c.id)
        .where(*_IS_DUE, *conditions)
        .order_by(_JOBS.c.available_at, _JOBS.c.id)
        .limit(1)
        .correlate_except(_JOBS)
    )


def _in_line(key: ColumnElement[Any], is_kind: ColumnElement[bool], name: str) -> CTE:
    """The owners or parents of jobs in line: a look at the index for each of them, not for each job."""
    smallest = select(key).where(*IS_IN_LINE, is_kind).order_by(key).limit(1)
    found = select(smallest.scalar_subquery().label("key")).cte(name, recursive=True)
    following = smallest.where(key > found.c.key).correlate(found).scalar_subquery()
    return found.union_all(select(following).where(found.c.key.is_not(None)))


def _heads() -> Select[Any]:
    """Each owner's first job that stands alone, and the first of each family, in the order of the line."""
    owners = _in_line(_JOBS.c.owner_id, _IS_ALONE, "owners")
    parents = _in_line(_JOBS.c.parent_id, _IS_CHILD, "parents")
    family_running = (
        select(func.count())
        .where(_JOBS.c.parent_id == parents.c.key, _JOBS.c.state == _RUNNING)
        .scalar_subquery()
    )
    heads = union_all(
        select(
            _first(_IS_ALONE, _JOBS.c.owner_id == owners.c.key).scalar_subquery().label("id"),
            null().label("parent_id"),
            literal(0).label("family_running"),
        ).where(owners.c.key.is_not(None)),
        select(
            _first(_IS_CHILD, _JOBS.c.parent_id == parents.c.key).scalar_subquery(),
            parents.c.key,
            family_running,
        ).where(parents.c.key.is_not(None)),
    ).subquery("heads")
    # Each by its key: for a join PostgreSQL, which expects a hundred owners, would read the whole table.
    of_head = _JOBS.alias("of_head")
    known = select(
        heads,
        *(
            select(column.label(name)).where(of_head.c.id == heads.c.id).scalar_subquery().label(name)
            for name, column in {
                "owner_id": of_head.c.owner_id,
                "available_at": of_head.c.available_at,
                # Every claim of a job that waits ended as a loss or was given back, the last one by a loss
                # where nothing was heard of it.
                "was_given_back": (of_head.c.attempt > of_head.c.losses)
                & of_head.c.heartbeat_at.is_not(None),
            }.items()
        ),
    )
    head = known.where(heads.c.id.is_not(None)).subquery("head")
    return select(head.c.id, head.c.parent_id, head.c.owner_id).order_by(
        head.c.was_given_back.desc(),
        _num_running(head.c.owner_id),
        _last_turn(head.c.owner_id).asc().nulls_first(),
        head.c.family_running,
        head.c.available_at,
        head.c.id,
    )


def _num_running(owner_id: ColumnElement[Any]) -> ScalarSelect[Any]:
    """Jobs of an owner that workers have; a parent whose children are under way runs without a lease."""
    has_lease = _JOBS.c.lease_expires_at.is_not(None)
    return (
        select(func.count())
        .where(_JOBS.c.owner_id == owner_id, _JOBS.c.state == _RUNNING, has_lease)
        .scalar_subquery()
    )


def _last_turn(owner_id: ColumnElement[Any]) -> ScalarSelect[Any]:
    """When the last of an owner's jobs that ran has ended; what was cancelled in line had no turn."""
    has_run = _JOBS.c.started_at.is_not(None)
    ended_at = _JOBS.c.finished_at
    return (
        select(ended_at)
        .where(_JOBS.c.owner_id == owner_id, has_run, ended_at.is_not(None))
        .order_by(ended_at.desc())
        .limit(1)
        .scalar_subquery()
    )


_HEADS = _heads()
_LOCK_PARENT = select(_JOBS.c.id).where(_JOBS.c.id == bindparam("job_id")).with_for_update(key_share=True)
_NEXT_CHILD = _first(_JOBS.c.parent_id == bindparam("parent_id"))
# SQLite ignores the locks: its transaction is alone anyway.
_LOCK_FREE = (
    select(_JOBS.c.id).where(_JOBS.c.id == bindparam("job_id"), *IS_IN_LINE).with_for_update(skip_locked=True)
)
_NEXT_FREE = _first(_IS_ALONE, _JOBS.c.owner_id == bindparam("owner_id")).with_for_update(skip_locked=True)


def is_anyone_due(session: Session, gpus: int = 1) -> bool:
    """Whether a worker with so many GPUs would find something to do; a look, which takes no lock."""
    return session.execute(_HEADS, {"gpus": max(1, gpus)}).first() is not None


def next_in_line(session: Session, gpus: int = 1) -> str | None:
    """The job to be claimed next; its parent, if it has one, is locked.

    Args:
        session: Of `Database.write()`.
        gpus: That the worker has for one job; jobs that need more are passed over. A CPU counts as one.

    Returns:
        Its id; somebody else may be faster. None when no job is due.
    """
    has = {"gpus": max(1, gpus)}
    heads = session.execute(_HEADS, has).all()
    for head in heads:
        if head.parent_id is not None:
            session.execute(_LOCK_PARENT, {"job_id": head.parent_id})
            child: str | None = session.execute(_NEXT_CHILD, {"parent_id": head.parent_id, **has}).scalar()
            return child
        # One that another worker is about to take is passed over, and with it the turn of its owner.
        if session.execute(_LOCK_FREE, {"job_id": head.id}).scalar() is not None:
            return str(head.id)
    if not heads:
        return None
    return session.execute(_NEXT_FREE, {"owner_id": heads[0].owner_id, **has}).scalar() or str(heads[0].id)
