"""The doorbell: tells workers that a row waits for them. Losing a ring costs seconds, never a job.

Without a broker nothing is sent, because workers look at the table themselves.
"""

from __future__ import annotations

from typing import Literal

RUN_JOB = "fdkd.run_job"
VALIDATE = "fdkd.validate"

Subject = Literal["dataset", "model"]


class WakeUp:
    """Sends wake-ups over Celery when a broker is set; never raises and never makes a request wait."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url

    def job(self, job_id: str) -> None:
        """A job is queued."""

    def validation(self, subject: Subject, subject_id: str) -> None:
        """An upload waits to be read."""

    def close(self) -> None:
        """Sends what is left, for a moment, and stops."""
