"""Writes what a trainer says to the job's record: fenced, a few times a second, in short transactions."""

from __future__ import annotations

import logging
import threading
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from service.db import Database
from service.errors import StaleAttemptError
from service.jobs import transitions
from service.tables import Job, JobLog, JobMetric
from worker.database_patience import persist
from worker.lease import Lease
from worker.observation import MetricKey, News, Observation

_log = logging.getLogger(__name__)

INTERVAL_S = 0.5
"""Between two reports of a job: often enough for a moving bar, rare enough for SQLite."""


def num_log_lines(session: Session, job_id: str) -> int:
    """Log lines that a job has already, from all its attempts."""
    return session.scalar(select(func.count()).where(JobLog.job_id == job_id)) or 0


def write_news(session: Session, job: Job, news: News) -> None:
    """Writes what is new.

    Raises:
        StaleAttemptError: The job is not this attempt's any more; nothing is written.
    """
    changes = {} if news.progress is None else {"progress": news.progress}
    # First: it fences, and it locks the row, which keeps the events of a job in order.
    transitions.hold(session, job.id, job.attempt, **changes)
    for kind, data in news.events:
        transitions.record_event(session, job.id, job.attempt, kind, data)
    if news.metrics:
        _upsert_metrics(session, job.id, news.metrics)
    if news.lines:
        rows = [
            {"job_id": job.id, "attempt": job.attempt, "source": "trainer", "line": line}
            for line in news.lines
        ]
        session.execute(insert(JobLog), rows)


def _upsert_metrics(session: Session, job_id: str, metrics: dict[MetricKey, dict[str, Any]]) -> None:
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    rows = [
        {"job_id": job_id, "phase": phase, "kind": kind, "step": step, **columns}
        for (phase, kind, step), columns in metrics.items()
    ]
    statement = dialect.insert(JobMetric)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["job_id", "phase", "kind", "step"],
            set_={name: statement.excluded[name] for name in ("epoch", "figures")},
        ),
        rows,
    )


class Reporter:
    """Reports in a thread, so that a slow database holds up neither the trainer nor whoever watches it."""

    def __init__(self, database: Database, lease: Lease, job: Job, observation: Observation) -> None:
        self._database = database
        self._lease = lease
        self._job = job
        self._observation = observation
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"report-{job.id}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Reports what is left; returns when it is written, or cannot be before the lease runs out."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        is_last = False
        while not is_last and not self._lease.is_lost:
            is_last = self._closing.wait(INTERVAL_S)
            news = self._observation.take()
            if not news:
                continue
            try:
                persist(
                    lambda news=news: self._write(news),  # type: ignore[misc]
                    until=lambda: self._lease.runs_out_at,
                    what=f"report on {self._job.id}",
                )
            except StaleAttemptError:
                self._lease.is_lost = True
            except (DBAPIError, PoolTimeoutError):
                _log.exception("a report on %s is lost", self._job.id)

    def _write(self, news: News) -> None:
        with self._database.write() as session:
            write_news(session, self._job, news)
