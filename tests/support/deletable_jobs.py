"""Jobs with all that a deletion has to remove, and what is left of them."""

from __future__ import annotations

from typing import Any

from job_records import add_job_in, add_model
from service_fixtures import ServiceUnderTest
from sqlalchemy import func, insert, select

from service import quota
from service.db import Database
from service.jobs.states import JobState
from service.scopes import LOCAL_OWNER
from service.tables import Artifact, Job, JobEvent, JobLog, JobMetric, JobModel, Model

CONTENT = b"weights" * 100
OF_JOBS = (JobEvent, JobMetric, JobLog, Artifact, JobModel)


def give_files(api: ServiceUnderTest, job_id: str) -> None:
    """An artifact, a metric and a log line, as a worker would have left them."""
    source = api.settings.data_dir / "source"
    source.write_bytes(CONTENT)
    name = "student/model.safetensors"
    stored = api.context.storage.put(f"jobs/{job_id}/attempt-1/{name}", source)
    with api.database.write() as session:
        session.execute(
            insert(Artifact).values(
                job_id=job_id, attempt=1, name=name, media_type="application/octet-stream",
                size_bytes=stored.size_bytes, sha256=stored.sha256, storage_key=stored.key,
            )
        )  # fmt: skip
        session.execute(
            insert(JobMetric).values(job_id=job_id, phase="student", kind="step", step=1, epoch=1, figures={})
        )
        session.execute(insert(JobLog).values(job_id=job_id, attempt=1, source="trainer", line="a line"))


def add_student(api: ServiceUnderTest, job_id: str) -> str:
    """The model that a job made."""
    name, key = f"student {job_id}", f"jobs/{job_id}/attempt-1/student"
    return add_model(api.database, name=name, source="job", role="student", job_id=job_id, storage_key=key)


def succeeded(api: ServiceUnderTest, dataset_id: str, **columns: Any) -> str:
    job_id = add_job_in(api.database, dataset_id, JobState.SUCCEEDED, **columns)
    give_files(api, job_id)
    return job_id


def path(job_id: str) -> str:
    return f"/v1/jobs/{job_id}"


def stored(api: ServiceUnderTest) -> int:
    with api.database.read() as session:
        return quota.stored_bytes(session, LOCAL_OWNER)


def rows_of(database: Database, job_id: str) -> int:
    """How many rows of any table speak of a job."""
    with database.read() as session:
        counts = [
            session.scalar(select(func.count()).select_from(table).where(table.job_id == job_id))
            for table in (*OF_JOBS, Model)
        ]
        counts.append(session.scalar(select(func.count()).where(Job.id == job_id)))
        counts.append(session.scalar(select(func.count()).where(Job.retry_of == job_id)))
        return sum(count or 0 for count in counts)


def files_of(api: ServiceUnderTest, job_id: str) -> bool:
    return (api.settings.storage_dir / "jobs" / job_id).exists()
