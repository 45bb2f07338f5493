"""Holding a job: renewing its lease, hearing of a wish to cancel, noticing that it was lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from service.db import Database
from service.errors import StaleAttemptError
from service.jobs import transitions
from service.jobs.states import JobState
from service.settings import Settings
from service.tables import Job

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Lease:
    """Keeps a claimed job for as long as the block lasts, in a thread of its own.

    A database that does not answer is asked again; meanwhile `runs_out_at` comes nearer, and whoever holds
    the job must stop before someone else may have it.

    Args:
        database: Where the job is.
        settings: Lease and intervals, in seconds.
        job_id: The job.
        attempt: The attempt that the claim gave it.
        claimed_at: Moment before the claim, on the monotonic clock.
    """

    def __init__(
        self, database: Database, settings: Settings, job_id: str, attempt: int, claimed_at: float
    ) -> None:
        self._database = database
        self._settings = settings
        self._job_id = job_id
        self._attempt = attempt
        self._renewed_at = claimed_at
        self._ended = threading.Event()
        self._busy = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{job_id}", daemon=True)
        self.on_renewed: Callable[[], None] = lambda: None
        """Called in the lease's thread after each renewal."""
        self.is_lost = False
        """Another attempt has the job, or it has ended: nothing may be written any more."""
        self.is_cancelled = False
        """Its user has asked to cancel it."""

    @property
    def runs_out_at(self) -> float:
        """Moment, on the monotonic clock, from which someone else may have the job."""
        return self._renewed_at + self._settings.lease_s

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(1)

    def conclude(self, write: Callable[[], T]) -> T:
        """Makes the write after which the job is not held any more, without taking its end for a loss."""
        with self._busy:
            result = write()
            self._ended.set()
            return result

    def _keep(self) -> None:
        pause_s = min(self._settings.control_poll_s, self._settings.heartbeat_s)
        while not self._ended.wait(pause_s):
            with self._busy:
                if not self._ended.is_set():
                    self._tend(pause_s)
            if self.is_lost:
                return

    def _tend(self, pause_s: float) -> None:
        try:
            if time.monotonic() - self._renewed_at >= self._settings.heartbeat_s - pause_s / 2:
                self._renew()
            else:
                self._look()
        except StaleAttemptError:
            _log.warning("fenced: job %s is not held by attempt %d any more", self._job_id, self._attempt)
            self.is_lost = True
        except SQLAlchemyError as error:
            _log.warning("cannot renew the lease of %s: %s", self._job_id, type(error).__name__)

    def _renew(self) -> None:
        asked_at = time.monotonic()
        with self._database.write() as session:
            self.is_cancelled |= transitions.renew(
                session, self._job_id, self._attempt, self._settings.lease_s
            )
        self._renewed_at = asked_at
        self.on_renewed()

    def _look(self) -> None:
        with self._database.read() as session:
            row = session.execute(
                select(Job.state, Job.attempt, Job.cancel_requested_at).where(Job.id == self._job_id)
            ).one_or_none()
        if row is None or row[0] != JobState.RUNNING or row[1] != self._attempt:
            raise StaleAttemptError
        self.is_cancelled |= row[2] is not None
