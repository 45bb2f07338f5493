"""A worker process put together: slots, the reader of uploads, the sweeper, and how all of it ends."""

from __future__ import annotations

import logging
import threading
import time

from service.context import Context
from service.identifiers import new_id
from service.jobs.sweep import Sweeper
from worker.polling import Bell, FailedStarts, Slot
from worker.registration import Registration
from worker.validation import ValidationSlot

_log = logging.getLogger(__name__)


class WorkerProcess:
    """Everything that runs in a worker.

    Args:
        context: Settings and open resources of this process.
    """

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self._context = context
        self.id = new_id("wrk")
        mode, poll_s = ("celery", settings.sweep_s) if settings.broker_url else ("polling", settings.poll_s)
        self._failed_starts = FailedStarts()
        self._jobs, self._uploads = Bell(), Bell()
        self._listener = None
        if settings.broker_url:
            from worker.celery_app import BrokerListener  # Celery is a fifth of what starting takes

            self._listener = BrokerListener(settings.broker_url, self._jobs, self._uploads)
        self._registration = Registration(context, self.id, mode)
        self._sweeper = Sweeper(context)
        slots = [
            Slot(context, self.id, self._jobs, self._failed_starts, poll_s).run
            for _ in range(settings.worker_slots)
        ]
        uploads = ValidationSlot(context, self.id, self._uploads, poll_s).run
        # Daemons: the process must be able to end although a thread waits for a database that is away.
        self._threads = [
            threading.Thread(target=target, name=f"slot-{number}", daemon=True)
            for number, target in enumerate([*slots, uploads])
        ]

    def start(self) -> None:
        """Begins to work.

        Raises:
            SQLAlchemyError: The database cannot be used.
        """
        self._registration.start()
        self._sweeper.start()
        if self._listener is not None:
            self._listener.start()
        for thread in self._threads:
            thread.start()
        _log.info("worker %s is ready", self.id)

    @property
    def is_broken(self) -> bool:
        """Whether trainers cannot start on this machine, so that it takes no more jobs."""
        return self._failed_starts.are_too_many

    def stop(self) -> bool:
        """Ends all work: trainers save a checkpoint and their jobs go back to the queue.

        Returns:
            Whether everything ended in time. What did not is lost with the process, and found by the sweep.
        """
        deadline = time.monotonic() + self._context.settings.shutdown_grace_s
        self._context.stopping.set()
        self._jobs.ring()
        self._uploads.ring()
        for thread in self._threads:
            # The rest of the time is for saying goodbye.
            thread.join(max(0.0, 0.9 * (deadline - time.monotonic())))
        self._sweeper.stop()
        if self._listener is not None:
            self._listener.stop(max(0.1, min(1.0, deadline - time.monotonic())))
        self._registration.stop()
        return not any(thread.is_alive() for thread in self._threads)
