"""Hearing the broker: a Celery consumer in a thread that does nothing but ring bells.

Jobs do not run inside Celery's tasks: its pool would have to be told of leases and cancellation, and while
busy it would sit on messages that another worker could use. The slots (`worker.polling`) take jobs from the
table in either mode; here they are only woken sooner.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery.worker import state

from service.queue import make_celery
from worker.polling import Bell
from worker.tasks import register_tasks

_log = logging.getLogger(__name__)
RESTART_S = 1.0


class BrokerListener:
    """Listens until told to stop; a broker that goes away is waited for.

    Args:
        broker_url: Redis.
        jobs: Rung when a job waits.
        uploads: Rung when an upload waits.
    """

    def __init__(self, broker_url: str, jobs: Bell, uploads: Bell) -> None:
        self._app = make_celery(broker_url)
        register_tasks(self._app, jobs, uploads)
        self._stopping = threading.Event()
        # Not in the main thread: Celery would take over the signals, and it raises from their handlers.
        self._thread = threading.Thread(target=self._listen, name="broker", daemon=True)

    def start(self) -> None:
        """Begins to listen."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Ends the listening, waiting at most `timeout_s` seconds for it."""
        self._stopping.set()
        state.should_stop = 0
        self._thread.join(timeout_s)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                self._make_consumer().start()
            except Exception:
                _log.exception("the consumer of wake-ups failed")
            self._stopping.wait(RESTART_S)

    def _make_consumer(self) -> Any:
        return self._app.WorkController(
            pool="solo",
            concurrency=1,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            send_events=False,
        )
