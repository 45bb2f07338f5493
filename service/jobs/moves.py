"""One job's row: the guarded UPDATE that moves it, and its event. What follows is up to `transitions`."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy import Table as SqlTable
from sqlalchemy.orm import Session

from service.db import db_now
from service.errors import InvalidTransitionError, NotFoundError, StaleAttemptError, TerminalStateError
from service.jobs.states import TERMINAL, TRANSITIONS, JobEventType, JobState
from service.tables import Job, JobEvent

_INSERT_EVENT = insert(cast(SqlTable, JobEvent.__table__)).inline()
"""Made once, and without asking for the id: every request that makes a job runs it."""


def move(
    session: Session,
    job_id: str,
    event: JobEventType,
    *,
    attempt: int | None = None,
    only_if: tuple[ColumnElement[bool], ...] = (),
    data: dict[str, Any] | None = None,
    **changes: Any,
) -> Job:
    """Moves one job and nothing else; for arguments and errors see `transitions.apply`."""
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


def record_queued(session: Session, job_ids: list[str]) -> None:
    """Begins the history of new jobs."""
    session.execute(
        _INSERT_EVENT,
        [{"job_id": job_id, "attempt": 0, "type": "job.queued", "data": {}} for job_id in job_ids],
    )


def _refuse(session: Session, job_id: str, event: str, *, fenced: bool) -> None:
    state = session.scalar(select(Job.state).where(Job.id == job_id))
    if state is None:
        raise NotFoundError.of("job", job_id)
    if fenced:
        raise StaleAttemptError(f"{event} came too late: the job is {state}")
    if JobState(state) in TERMINAL:
        raise TerminalStateError(f"The job is {state} already.", state=state)
    raise InvalidTransitionError(f"{event} cannot happen to a job that is {state}.", state=state)
