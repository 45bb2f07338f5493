"""The only way a job's state changes: one guarded UPDATE and one event, in the caller's transaction."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy import Table as SqlTable
from sqlalchemy.orm import Session

from service.db import db_now
from service.errors import InvalidTransitionError, NotFoundError, StaleAttemptError, TerminalStateError
from service.jobs.states import TERMINAL, TRANSITIONS, JobEventType, JobState
from service.tables import Job, JobEvent

_INSERT_EVENT = insert(cast(SqlTable, JobEvent.__table__)).inline()
"""Made once, and without asking for the id: every request that makes a job runs it."""


def apply(
    session: Session,
    job_id: str,
    event: JobEventType,
    *,
    attempt: int | None = None,
    only_if: tuple[ColumnElement[bool], ...] = (),
    data: dict[str, Any] | None = None,
    **changes: Any,
) -> Job:
    """Moves a job, or says why not.

    Args:
        session: Of `Database.write()`; the state, the event and what the caller adds are committed together.
        job_id: The job.
        event: What happened; see `TRANSITIONS`.
        attempt: The caller's attempt, required for events of the job's holder.
        only_if: Further conditions on the row, such as an expired lease.
        data: Of the event, as clients read it.
        changes: Further columns to set.

    Returns:
        The job as it is now.

    Raises:
        StaleAttemptError: The job is not the caller's any more.
        TerminalStateError: The job has ended.
        InvalidTransitionError: The job is elsewhere.
        NotFoundError: There is no such job.
    """
    transition = TRANSITIONS[event]
    if transition.fenced and attempt is None:
        raise TypeError(f"{event} is for the holder of the job, which must name its attempt")
    conditions = [Job.id == job_id, Job.state == transition.source, *only_if]
    if attempt is not None:
        conditions.append(Job.attempt == attempt)
    values: dict[str, Any] = {"state": transition.target, "version": Job.version + 1, **changes}
    if transition.target in TERMINAL:
        values["finished_at"] = db_now()
    if event is JobEventType.CLAIMED:
        values["attempt"] = Job.attempt + 1
    else:
        values |= {"worker_id": None, "lease_expires_at": None}
    job = session.scalars(update(Job).where(*conditions).values(**values).returning(Job)).one_or_none()
    if job is None:
        _refuse(session, job_id, event, fenced=attempt is not None)
    assert job is not None
    record_event(session, job_id, job.attempt, event, data)
    return job


def wish_cancellation(session: Session, job_id: str) -> Job:
    """Notes that a running job is to be cancelled; its state is its holder's business.

    Raises:
        TerminalStateError, InvalidTransitionError: The job is not running, or the wish was noted before.
        NotFoundError: There is no such job.
    """
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.RUNNING, Job.cancel_requested_at.is_(None))
        .values(cancel_requested_at=db_now(), version=Job.version + 1)
        .returning(Job)
    )
    job = session.scalars(statement).one_or_none()
    if job is None:
        _refuse(session, job_id, "job.cancel_requested", fenced=False)
    assert job is not None
    record_event(session, job_id, job.attempt, "job.cancel_requested")
    return job


def record_event(
    session: Session, job_id: str, attempt: int, event: str, data: dict[str, Any] | None = None
) -> None:
    """Appends to the job's history."""
    row = {"job_id": job_id, "attempt": attempt, "type": str(event), "data": data or {}}
    session.execute(_INSERT_EVENT, row)


def claim(session: Session, worker_id: str, lease_s: float, job_id: str | None = None) -> Job | None:
    """Takes the oldest job that waits, or the given one if it still does.

    Returns:
        The job, whose `attempt` fences every later write; None when there is nothing to do.
    """
    waiting = (
        select(Job.id)
        .where(Job.state == JobState.QUEUED, Job.available_at <= db_now())
        .order_by(Job.available_at, Job.id)
        .limit(1)
        # SQLite ignores this: its write transaction is alone anyway.
        .with_for_update(skip_locked=True)
    )
    if job_id is not None:
        waiting = waiting.where(Job.id == job_id)
    found = session.scalar(waiting)
    if found is None:
        return None
    try:
        return apply(
            session,
            found,
            JobEventType.CLAIMED,
            data={"worker_id": worker_id},
            worker_id=worker_id,
            lease_expires_at=db_now(lease_s),
            heartbeat_at=db_now(),
            started_at=func.coalesce(Job.started_at, db_now()),
        )
    except InvalidTransitionError:
        return None


def renew(session: Session, job_id: str, attempt: int, lease_s: float) -> bool:
    """Keeps the job for another `lease_s` seconds.

    Returns:
        Whether its user has asked to cancel it.

    Raises:
        StaleAttemptError: The job is not the caller's any more.
    """
    row = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.RUNNING, Job.attempt == attempt)
        .values(lease_expires_at=db_now(lease_s), heartbeat_at=db_now())
        .returning(Job.cancel_requested_at)
    ).one_or_none()
    if row is None:
        raise StaleAttemptError
    return row[0] is not None


def hold(session: Session, job_id: str, attempt: int, **changes: Any) -> None:
    """Changes a running job's progress and the like; nothing is written by an attempt that lost it.

    Raises:
        StaleAttemptError: The job is not the caller's any more.
    """
    row = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.RUNNING, Job.attempt == attempt)
        .values(version=Job.version + 1, **changes)
        .returning(Job.id)
    ).one_or_none()
    if row is None:
        raise StaleAttemptError


def _refuse(session: Session, job_id: str, event: str, *, fenced: bool) -> None:
    state = session.scalar(select(Job.state).where(Job.id == job_id))
    if state is None:
        raise NotFoundError
    if fenced:
        raise StaleAttemptError(f"{event} came too late: the job is {state}")
    if JobState(state) in TERMINAL:
        raise TerminalStateError(f"The job is {state} already.", state=state)
    raise InvalidTransitionError(f"{event} cannot happen to a job that is {state}.", state=state)
