"""What a message can make a worker do: look at the tables. The ids in it are not even read.

So a message may be lost, late, repeated or forged, and nothing worse happens than a look for nothing.
"""

from __future__ import annotations

from celery import Celery

from service.queue import RUN_JOB, VALIDATE
from worker.polling import Bell


def register_tasks(app: Celery, jobs: Bell, uploads: Bell) -> None:
    """Has the two messages of `service.queue.WakeUp` ring."""

    def run_job(job_id: str) -> None:
        jobs.ring()

    def validate(subject: str, subject_id: str) -> None:
        uploads.ring()

    app.task(run_job, name=RUN_JOB)
    app.task(validate, name=VALIDATE)
