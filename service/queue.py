"""The doorbell: tells workers that a row waits for them. Losing a ring costs seconds, never a job.

Without a broker nothing is sent, because workers look at the table themselves. With one, a wake-up is a
Celery message with the id alone; the row decides what it is worth, so it may be lost, late or come twice.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # imported where a broker is named: it is a fifth of what starting the API takes
    from celery import Celery
    from kombu.connection import Connection

RUN_JOB = "fdkd.run_job"
VALIDATE = "fdkd.validate"

Subject = Literal["dataset", "model"]

MAX_WAITING = 10_000
"""Wake-ups kept while the broker is away; the sweep sends what is dropped beyond."""
SOCKET_TIMEOUT_S = 2.0
"""A broker that does not answer for so long is given up; only the sending thread waits for it."""
PAUSE_S = 1.0
"""Between tries while the broker is away."""
PROBE_KEY = "fdkd.probe"
"""Written to see whether the broker takes anything; goes away by itself."""

_log = logging.getLogger(__name__)


def make_celery(broker_url: str) -> Celery:
    """Makes the Celery application that API and workers share: JSON only, no results, acknowledged early.

    Acknowledged early: the sweep sends again what was lost, while a message that is acknowledged only after
    an hour of training would be delivered a second time meanwhile.
    """
    from celery import Celery

    app = Celery("fdkd", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        task_default_queue="fdkd",
        task_publish_retry=False,
        broker_connection_timeout=SOCKET_TIMEOUT_S,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": SOCKET_TIMEOUT_S,
            "socket_keepalive": True,
            # A worker whose broker went away without a word notices within 1 + 2 times this, in seconds.
            "health_check_interval": 10,
            "retry_on_timeout": False,
            "max_retries": 0,
        },
        enable_utc=True,
        worker_hijack_root_logger=False,
    )
    return app


def broker_trouble(app: Celery) -> str | None:
    """Tries the broker, by writing: a Redis that has become a replica, or is full, lets everybody connect.

    Returns:
        The name of an error; None when messages can be sent and heard.
    """
    from redis.exceptions import NoPermissionError

    connection = app.connection_for_write()
    try:
        connection.default_channel.client.set(PROBE_KEY, "", ex=1)
    except NoPermissionError:
        return None  # a rule about keys, which says nothing of those of the queue
    except Exception as error:
        return _reason(error)
    finally:
        _close(connection)
    return None


class WakeUp:
    """Sends wake-ups over Celery when a broker is set; never raises and never makes a request wait."""

    def __init__(self, broker_url: str) -> None:
        self._app = make_celery(broker_url) if broker_url else None
        self._waiting: queue.Queue[tuple[str, list[str]]] = queue.Queue(MAX_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self.num_sent = 0
        self.num_dropped = 0
        """Not sent, because too many waited or the broker was away; the sweep makes up for it."""

    def job(self, job_id: str) -> None:
        """Tells workers that a job is queued."""
        self._ring(RUN_JOB, [job_id])

    def validation(self, subject: Subject, subject_id: str) -> None:
        """Tells workers that an upload waits to be read."""
        self._ring(VALIDATE, [subject, subject_id])

    def trouble(self) -> str | None:
        """What keeps wake-ups from being sent now; see `broker_trouble`. None without a broker, too."""
        return None if self._app is None else broker_trouble(self._app)

    def close(self, timeout_s: float = 1.0) -> None:
        """Sends what is left, for at most `timeout_s` seconds, and stops."""
        self._closing.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _ring(self, task: str, arguments: list[str]) -> None:
        if self._app is None:
            return
        try:
            self._waiting.put_nowait((task, arguments))
        except queue.Full:
            self.num_dropped += 1
            return
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        # Not in the constructor: a thread does not survive the fork of a server that starts its own children.
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._send_all, name="wake-up", daemon=True)
                self._thread.start()

    def _send_all(self) -> None:
        assert self._app is not None
        # A connection of this thread's own: Celery's pool keeps what broke, and waits for it without end.
        connection = None
        was_away = False
        while not (self._closing.is_set() and self._waiting.empty()):
            try:
                task, arguments = self._waiting.get(timeout=0.1)
            except queue.Empty:
                continue
            try:
                if connection is None:
                    connection = self._app.connection_for_write()
                    producer = self._app.amqp.Producer(connection, auto_declare=False)
                self._app.send_task(task, args=arguments, producer=producer, retry=False)
            except Exception as error:  # whatever the broker does, a request was answered long ago
                self.num_dropped += 1
                if not was_away:
                    _log.warning("the broker is away (%s); the sweep will ring instead", _reason(error))
                was_away = True
                _close(connection)
                connection = None
                self._closing.wait(PAUSE_S)
                continue
            if was_away:
                _log.warning("the broker is back")
            was_away = False
            self.num_sent += 1
        _close(connection)


def _reason(error: Exception) -> str:
    """The type alone: a message may hold the broker's URL, with its password."""
    # What Celery raises is an OperationalError whatever the broker said.
    return type(error.__cause__ or error).__name__


def _close(connection: Connection | None) -> None:
    if connection is not None:
        with contextlib.suppress(Exception):
            connection.collect(socket_timeout=0.1)  # type: ignore[no-untyped-call]
