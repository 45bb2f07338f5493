"""Healing what crashes and lost messages leave behind. Any number of sweeps may run at once, anywhere.

Each finding is judged again by the statement that acts on it, so a sweep that comes second finds nothing
to do.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from service import validations
from service.context import Context
from service.db import db_now
from service.errors import StaleAttemptError
from service.jobs.line import IS_IN_LINE
from service.jobs.losses import lose
from service.jobs.orphans import remove_orphans
from service.jobs.states import JobState
from service.tables import IdempotencyKey, Job, Upload, Worker
from service.uploads.files import EXPIRED_KEPT_S, remove_expired

_log = logging.getLogger(__name__)

RING_AFTER_S = 10
"""A job that has waited so long was not heard of, or every worker is busy."""
MAX_RINGS = 20
"""Rings of one sweep: each only makes one worker look, and a worker that looks takes all it can."""
WORKER_GONE_S = 600
MAX_LOST = 100
FILES_EVERY_S = 600
"""Files are looked through far more rarely than rows: it takes longer, and they are in nobody's way."""


@dataclass(frozen=True)
class Swept:
    """What a sweep did."""

    lost_jobs: int
    rings: int
    removed_rows: int


def sweep(context: Context) -> Swept:
    """Ends attempts whose lease has run out, rings for what waits unheard, removes rows that have expired.

    Raises:
        SQLAlchemyError: The database cannot be used; what was done until then stays done.
    """
    return Swept(_end_lost(context), _ring(context), _remove_expired(context))


def _end_lost(context: Context) -> int:
    has_run_out = Job.lease_expires_at < db_now()
    with context.database.read() as session:
        lost = session.execute(
            select(Job.id, Job.attempt, Job.heartbeat_at, db_now())
            .where(Job.state == JobState.RUNNING, has_run_out)
            .limit(MAX_LOST)
        ).all()
    num_ended = 0
    for job_id, attempt, heard_of_at, now in lost:
        try:
            with context.database.write() as session:
                event = lose(
                    session, job_id, attempt, context.settings,
                    code="worker_lost",
                    message=_unheard(heard_of_at, now),
                    only_if=(has_run_out,),
                )  # fmt: skip
        except StaleAttemptError:
            continue  # another sweep was faster, or the worker came back in time
        _log.warning("attempt %d of %s ran out of its lease: %s", attempt, job_id, event)
        num_ended += 1
    return num_ended


def _unheard(heard_of_at: datetime | None, now: datetime) -> str:
    since = "any more" if heard_of_at is None else f"for {(now - heard_of_at).total_seconds():.0f} s"
    return f"The worker was not heard of {since}: it died, stood still, or could not reach the database."


def _ring(context: Context) -> int:
    if not context.settings.broker_url:
        return 0
    with context.database.read() as session:
        # Nobody hears a ring when no worker listens, and it would wait in the broker for ever.
        listening = select(Worker.id).where(
            Worker.mode == "celery", Worker.heartbeat_at > db_now(-context.settings.lease_s)
        )
        if session.scalar(listening.limit(1)) is None:
            return 0
        jobs = session.scalars(
            select(Job.id)
            .where(*IS_IN_LINE, Job.available_at < db_now(-RING_AFTER_S))
            .order_by(Job.available_at)
            .limit(MAX_RINGS)
        ).all()
        uploads = validations.waiting(session, RING_AFTER_S)[:MAX_RINGS]
    for job_id in jobs:
        context.wake_up.job(job_id)
    for subject, subject_id in uploads:
        context.wake_up.validation(subject, subject_id)
    return len(jobs) + len(uploads)


def _remove_expired(context: Context) -> int:
    expired = (
        (IdempotencyKey, IdempotencyKey.expires_at < db_now()),
        (Worker, Worker.heartbeat_at < db_now(-WORKER_GONE_S)),
    )
    num_removed = 0
    for table, has_expired in expired:
        # SQLite has one writer: a sweep that has nothing to do must not queue up for it.
        with context.database.read() as session:
            if session.scalar(select(1).select_from(table).where(has_expired).limit(1)) is None:
                continue
        with context.database.write() as session:
            key = next(iter(table.__table__.primary_key))
            num_removed += len(session.execute(delete(table).where(has_expired).returning(key)).all())
    with context.database.read() as session:
        has_expired = Upload.expires_at < db_now(-EXPIRED_KEPT_S)
        is_due = session.scalar(select(1).select_from(Upload).where(has_expired).limit(1)) is not None
    if is_due:
        num_removed += remove_expired(context.database, context.settings.uploads_dir)
    return num_removed


class Sweeper:
    """Sweeps every `sweep_s` seconds, in a thread, until stopped. Nothing that goes wrong ends it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Begins to sweep."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it; returns at once when it is not in the middle of a sweep, else after at most a second."""
        self._ended.set()
        self._thread.join(1)

    def _run(self) -> None:
        files_due_at = time.monotonic() + self._context.settings.sweep_s
        while not self._ended.wait(self._context.settings.sweep_s):
            try:
                sweep(self._context)
                if time.monotonic() >= files_due_at:
                    remove_orphans(self._context)
                    files_due_at = time.monotonic() + FILES_EVERY_S
            except SQLAlchemyError as error:
                _log.warning("cannot sweep: %s", type(error).__name__)
            except Exception:
                _log.exception("a sweep failed")
