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
from redis.exceptions import RedisError

from service.queue import broker_trouble, make_celery
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
        logging.getLogger("celery.worker").addFilter(_tell_calmly)
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
        told = None
        while not self._stopping.is_set():
            # Not left to Celery, whose consumers never give back the sockets of a Redis that is read-only.
            trouble = broker_trouble(self._app)
            if trouble is None:
                try:
                    self._make_consumer().start()
                except Exception:
                    _log.exception("the consumer of wake-ups failed")
            elif trouble != told:
                _log.warning("the broker cannot be used (%s); the worker looks for work by itself", trouble)
            told = trouble
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


def _tell_calmly(record: logging.LogRecord) -> bool:
    """Has Celery say in a line that a broker refused it: it calls that unrecoverable, with a traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, RedisError):
        record.levelno, record.levelname, record.exc_info = logging.WARNING, "WARNING", None
        record.msg = "the broker ended a consumer of wake-ups (%s); another one is made"
        record.args = (type(error).__name__,)
    return True
