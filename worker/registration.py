"""The row by which others know that this worker lives."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import socket
import threading
from typing import Any

from sqlalchemy import delete, insert, update
from sqlalchemy.exc import SQLAlchemyError

from service.context import Context
from service.db import db_now
from service.tables import Worker
from worker.gpus import gpus_for_a_job

_log = logging.getLogger(__name__)


def _version() -> str:
    try:
        return importlib.metadata.version("fdkd")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


class Registration:
    """Keeps the row for as long as the process lives, in a thread.

    Args:
        context: Database and settings.
        worker_id: Of this process.
        mode: `polling` or `celery`.
    """

    def __init__(self, context: Context, worker_id: str, mode: str) -> None:
        self._context = context
        self._id = worker_id
        self._columns: dict[str, Any] = {
            "host": socket.gethostname()[:255],
            "pid": os.getpid(),
            "mode": mode,
            "slots": context.settings.worker_slots,
            "gpus": gpus_for_a_job(context.settings),
            "version": _version(),
        }
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="registration", daemon=True)

    def start(self) -> None:
        """Writes the row.

        Raises:
            SQLAlchemyError: The database cannot be used.
        """
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Removes it; a database that is away keeps it until the sweep finds it stale."""
        self._ended.set()
        self._thread.join(1)
        with contextlib.suppress(SQLAlchemyError), self._context.database.write() as session:
            session.execute(delete(Worker).where(Worker.id == self._id))

    def _keep(self) -> None:
        while not self._ended.wait(self._context.settings.heartbeat_s):
            try:
                self._beat()
            except SQLAlchemyError as error:
                _log.warning("cannot say that this worker lives: %s", type(error).__name__)

    def _beat(self) -> None:
        with self._context.database.write() as session:
            renewed = session.scalar(
                update(Worker).where(Worker.id == self._id).values(heartbeat_at=db_now()).returning(Worker.id)
            )
            # The first time; or a sweep removed the row while this process was frozen.
            if renewed is None:
                session.execute(insert(Worker).values(id=self._id, **self._columns))
