"""What becomes of a running job whose attempt ended early: it waits for the next one, or is given up."""

from __future__ import annotations

import random
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from service.db import db_now
from service.jobs import transitions
from service.jobs.states import JobEventType
from service.settings import Settings

LONGEST_BACKOFF_S = 600


def backoff_s(settings: Settings, losses: int) -> float:
    """Seconds to wait after so many losses: doubling, and spread for jobs that were lost together."""
    longest = min(settings.retry_backoff_s * 2.0**losses, LONGEST_BACKOFF_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


def lose(
    session: Session,
    job_id: str,
    attempt: int,
    settings: Settings,
    *,
    code: str,
    message: str,
    crash_step: int | None = None,
    only_if: tuple[ColumnElement[bool], ...] = (),
) -> JobEventType:
    """Ends a lost attempt of a running job.

    Args:
        session: Of `Database.write()`.
        job_id: The job.
        attempt: The lost attempt.
        settings: How many losses a job may have, and how long it waits after each.
        code: `crashed`, `stalled` or `worker_lost`.
        message: What happened, for the user.
        crash_step: Step of the whole job at which its trainer crashed or hung; None when its worker went
            away. A second time at the same step is the job's own fault.
        only_if: Further conditions on the row, such as an expired lease.

    Returns:
        What happened to the job: LOST, STOPPED when its user had asked to cancel it, or GIVEN_UP.

    Raises:
        StaleAttemptError: The job is not the caller's any more, or the conditions are not met.
    """
    row = transitions.lock_held(session, job_id, attempt, only_if)
    losses = row.losses + 1
    phase = (row.progress or {}).get("phase")
    data: dict[str, Any] = {"code": code, "message": message}
    changes: dict[str, Any] = {"losses": losses}
    if crash_step is not None:
        data["step"] = changes["last_crash_step"] = crash_step
    if row.cancel_requested_at is not None:
        event = JobEventType.STOPPED
    elif crash_step is not None and crash_step == row.last_crash_step:
        event = JobEventType.GIVEN_UP
        text = f"{message} It is the second time at step {crash_step}, so it was not tried again."
        changes["error"] = {"code": code, "message": text, "phase": phase, "retryable": False}
    elif losses >= settings.max_attempts:
        event = JobEventType.GIVEN_UP
        text = f"{message} It is loss {losses} of this job, so it was not tried again."
        changes["error"] = {"code": code, "message": text, "phase": phase, "retryable": True}
    else:
        event = JobEventType.LOST
        data["retry_in_s"] = round(backoff_s(settings, row.losses), 1)
        changes["available_at"] = db_now(data["retry_in_s"])
        changes["heartbeat_at"] = None  # its turn is over, also if an earlier attempt was given back
    transitions.apply(session, job_id, event, attempt=attempt, data=data, **changes)
    return event


def give_back(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    reason: str,
    message: str | None = None,
    after_s: float = 0,
) -> JobEventType:
    """Ends an attempt that did nothing wrong; the job is not charged for it.

    Args:
        session: Of `Database.write()`.
        job_id: The job.
        attempt: The caller's attempt.
        reason: Such as `shutdown` or `not_started`.
        message: What happened, where there is more to say.
        after_s: Not to be claimed again before, in seconds; 0 leaves it its place in the line.

    Returns:
        What happened to the job: YIELDED, or STOPPED when its user had asked to cancel it.

    Raises:
        StaleAttemptError: The job is not the caller's any more.
    """
    row = transitions.lock_held(session, job_id, attempt)
    data = {"reason": reason} if message is None else {"reason": reason, "message": message}
    if row.cancel_requested_at is not None:
        transitions.apply(session, job_id, JobEventType.STOPPED, attempt=attempt, data=data)
        return JobEventType.STOPPED
    # Without a delay the job keeps its place in the line, before all that came later.
    changes: dict[str, Any] = {"available_at": db_now(after_s)} if after_s > 0 else {}
    transitions.apply(session, job_id, JobEventType.YIELDED, attempt=attempt, data=data, **changes)
    return JobEventType.YIELDED
