"""Slots: threads that take jobs one after the other for as long as the worker lives.

A slot looks at the table when it is idle, every so often and whenever the bell rings. The bell is all that a
message of the broker does, so it matters little whether one is lost, repeated or forged.
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from service.context import Context
from service.jobs import line, transitions
from service.tables import Job
from worker.attempt import Attempt
from worker.gpus import gpus_for_a_job
from worker.outcomes import Action
from worker.standby import Trainers

_log = logging.getLogger(__name__)
MAX_FAILED_STARTS = 3
"""In a row, of whatever jobs: then it is this machine that is broken."""
MAX_TRIES = 20
"""Of one look, when other workers were faster each time; a transaction each, so that no lock is kept."""


class Bell:
    """Wakes whoever waits. A ring between a look and the wait that follows is not missed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.num_rings = 0

    def ring(self) -> None:
        """Wakes all that wait."""
        with self._condition:
            self.num_rings += 1
            self._condition.notify_all()

    def wait(self, heard: int, timeout_s: float) -> None:
        """Waits for a ring after the first `heard` ones, at most `timeout_s` seconds."""
        with self._condition:
            self._condition.wait_for(lambda: self.num_rings != heard, timeout_s)


class FailedStarts:
    """Counts trainers that could not even begin, over all slots."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row = 0

    @property
    def are_too_many(self) -> bool:
        """Whether the worker should take no more jobs: each would only be sent back."""
        return self._in_a_row >= MAX_FAILED_STARTS

    def note(self, action: Action | None) -> None:
        """Takes in how an attempt ended; None says nothing."""
        with self._lock:
            if action is Action.NOT_STARTED:
                self._in_a_row += 1
            elif action is not None:
                self._in_a_row = 0


class Slot:
    """One job at a time.

    Args:
        context: Settings, database, storage; `stopping` ends the slot.
        worker_id: Of this process.
        bell: Rung when a job waits.
        failed_starts: Of the whole worker.
        poll_s: Time between two looks without a ring, in seconds.
    """

    def __init__(
        self, context: Context, worker_id: str, bell: Bell, failed_starts: FailedStarts, poll_s: float
    ) -> None:
        self._context = context
        self._worker_id = worker_id
        self._bell = bell
        self._failed_starts = failed_starts
        self._poll_s = poll_s
        self._trainers = Trainers(context.settings)
        self._gpus = gpus_for_a_job(context.settings)

    def run(self) -> None:
        """Takes jobs until the worker is to end."""
        stopping = self._context.stopping
        try:
            while not stopping.is_set() and not self._failed_starts.are_too_many:
                heard = self._bell.num_rings
                if not self.run_next() and not stopping.is_set():
                    self._bell.wait(heard, self._poll_s)
        finally:
            self._trainers.close()

    def run_next(self) -> bool:
        """Takes a job if one waits, and sees it through; returns whether there was one."""
        claimed_at = time.monotonic()
        try:
            job = self._claim()
        except (DBAPIError, PoolTimeoutError) as error:
            _log.warning("cannot look for jobs: %s", type(error).__name__)
            return False
        if job is None:
            return False
        _log.info("attempt %d of %s begins", job.attempt, job.id)
        self._failed_starts.note(Attempt(self._context, job, claimed_at, self._trainers).run())
        return True

    def _claim(self) -> Job | None:
        for _ in range(MAX_TRIES):
            # Idle workers look often, and a look takes no lock.
            with self._context.database.read() as session:
                if not line.is_anyone_due(session, self._gpus):
                    return None
            with self._context.database.write() as session:
                job = transitions.claim(
                    session, self._worker_id, self._context.settings.lease_s, gpus=self._gpus
                )
            if job is not None:
                return job
        return None
