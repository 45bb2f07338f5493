"""The only way a job's state changes: a guarded UPDATE, an event, and what follows for its family."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, update
from sqlalchemy.orm import Session

from service.db import db_now
from service.errors import InvalidTransitionError, NotFoundError, StaleAttemptError, TerminalStateError
from service.jobs import families, line
from service.jobs.moves import move, record_event, wish_cancellation
from service.jobs.states import TERMINAL, TRANSITIONS, JobEventType, JobState
from service.tables import Job

__all__ = ["apply", "claim", "hold", "lock_held", "record_event", "renew", "wish_cancellation"]


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
    parent_id = families.lock_parent(session, job_id)
    job = move(session, job_id, event, attempt=attempt, only_if=only_if, data=data, **changes)
    if parent_id is not None:
        families.settle(session, parent_id, job if TRANSITIONS[event].target in TERMINAL else None)
    return job


def claim(
    session: Session, worker_id: str, lease_s: float, job_id: str | None = None, *, gpus: int = 1
) -> Job | None:
    """Takes the job that is next in line for a worker with so many GPUs, or the given one if it still waits.

    Returns:
        The job, whose `attempt` fences every later write; None when there is nothing to do, or when somebody
        else was faster.
    """
    found = job_id if job_id is not None else line.next_in_line(session, gpus)
    if found is None:
        return None
    try:
        return apply(
            session,
            found,
            JobEventType.CLAIMED,
            only_if=(Job.waits_for.is_(None), Job.available_at <= db_now(), Job.gpus <= max(1, gpus)),
            data={"worker_id": worker_id},
            worker_id=worker_id,
            lease_expires_at=db_now(lease_s),
            heartbeat_at=db_now(),
            started_at=func.coalesce(Job.started_at, db_now()),
        )
    except (InvalidTransitionError, TerminalStateError, NotFoundError):  # the last: cancelled and deleted
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


def lock_held(
    session: Session, job_id: str, attempt: int, only_if: tuple[ColumnElement[bool], ...] = ()
) -> Row[tuple[int, int | None, datetime | None, dict[str, Any] | None]]:
    """Keeps everyone else from changing a running job until the transaction ends, and its parent before it.

    Returns:
        Its `losses`, `last_crash_step`, `cancel_requested_at` and `progress`.

    Raises:
        StaleAttemptError: The job is not the caller's any more, or the conditions are not met.
    """
    families.lock_parent(session, job_id)
    row = session.execute(
        select(Job.losses, Job.last_crash_step, Job.cancel_requested_at, Job.progress)
        .where(Job.id == job_id, Job.attempt == attempt, Job.state == JobState.RUNNING, *only_if)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise StaleAttemptError
    return row
