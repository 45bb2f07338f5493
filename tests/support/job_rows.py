"""Datasets, models and jobs in the database and the storage: put in by hand, and read back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from small_job import small_spec
from sqlalchemy import select, update
from study_samples import compare_spec

from fdkd_core.spec import AnyJobSpec
from service.artifacts.archives import open_stored
from service.context import Context
from service.db import db_now
from service.identifiers import new_id
from service.jobs.comparisons import plan as plan_family
from service.jobs.given_models import give, given_to
from service.jobs.repository import insert_job
from service.tables import Artifact, Dataset, Job, JobEvent, JobLog, JobMetric, Model

OWNER = "own_00000000000000000000000000"


class JobRows:
    """What there is in a database and a storage."""

    context: Context

    def add_dataset(self, path: Path, state: str = "ready") -> str:
        dataset_id = new_id("ds")
        stored = self.context.storage.put(f"datasets/{dataset_id}/{dataset_id}{path.suffix}", path)
        row = Dataset(
            id=dataset_id, owner_id=OWNER, name=dataset_id, name_key=dataset_id, state=state,
            format=path.suffix[1:], size_bytes=stored.size_bytes, sha256=stored.sha256,
            storage_key=stored.key,
        )  # fmt: skip
        with self.context.database.write() as session:
            session.add(row)
        return dataset_id

    def add_model(self, path: Path, **columns: Any) -> str:
        model_id = new_id("mdl")
        stored = self.context.storage.put(f"models/{model_id}/{path.name}", path)
        row = Model(
            id=model_id, owner_id=OWNER, name=model_id, name_key=model_id, source="upload",
            size_bytes=stored.size_bytes, sha256=stored.sha256, storage_key=stored.key, **columns,
        )  # fmt: skip
        with self.context.database.write() as session:
            session.add(row)
        return model_id

    def add_job(
        self,
        dataset_id: str,
        spec: AnyJobSpec | None = None,
        *,
        plan: str = "a job",
        given: dict[str, str] | None = None,
        **columns: Any,
    ) -> str:
        job_id = new_id("job")
        document = (spec or small_spec(name=plan)).model_dump(mode="json")
        row = Job(
            id=job_id, owner_id=OWNER, kind=document["kind"], name=document["name"], spec=document,
            dataset_id=dataset_id, **columns,
        )  # fmt: skip
        with self.context.database.write() as session:
            session.add(row)
            session.flush()
            give(session, {job_id: given or {}})
        return job_id

    def add_compare(self, dataset_id: str, plans: dict[str, str] | None = None, **changes: Any) -> str:
        """A comparison with its children, as the API makes it.

        Args:
            dataset_id: What it is about.
            plans: Of trainers (`trainer_plan`), by name of the child; "" is the comparison's own conclusion.
            changes: Fields of the spec.
        """
        spec = compare_spec(**changes)
        with self.context.database.write() as session:
            job = insert_job(
                session, plan_family(spec, {}), given={}, owner_id=OWNER, kind="compare", name=spec.name,
                spec=spec.model_dump(mode="json"), labels={}, dataset_id=dataset_id, gpus=1,
            )  # fmt: skip
            for row in session.scalars(select(Job).where((Job.id == job.id) | (Job.parent_id == job.id))):
                plan = (plans or {}).get("" if row.id == job.id else row.name)
                if plan is not None:
                    row.spec = {**row.spec, "name": plan}
        return str(job.id)

    def given(self, job_id: str) -> dict[str, str]:
        """The models that a job is given, by role."""
        with self.context.database.read() as session:
            return given_to(session, job_id)

    def children(self, parent_id: str) -> dict[str, Job]:
        """By name, in the order of the spec."""
        with self.context.database.read() as session:
            rows = session.scalars(select(Job).where(Job.parent_id == parent_id).order_by(Job.id))
            return {row.name: row for row in rows}

    def cancel(self, job_id: str) -> None:
        with self.context.database.write() as session:
            session.execute(update(Job).where(Job.id == job_id).values(cancel_requested_at=db_now()))

    def job(self, job_id: str) -> Job:
        with self.context.database.read() as session:
            return session.get_one(Job, job_id)

    def events(self, job_id: str, kind: str | None = None) -> list[JobEvent]:
        with self.context.database.read() as session:
            rows = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id))
            return [row for row in rows if kind in (None, row.type)]

    def metrics(self, job_id: str) -> list[JobMetric]:
        with self.context.database.read() as session:
            rows = select(JobMetric).where(JobMetric.job_id == job_id).order_by(JobMetric.step)
            return list(session.scalars(rows))

    def log_lines(self, job_id: str) -> list[str]:
        with self.context.database.read() as session:
            rows = select(JobLog.line).where(JobLog.job_id == job_id).order_by(JobLog.id)
            return list(session.scalars(rows))

    def artifacts(self, job_id: str) -> dict[str, Artifact]:
        with self.context.database.read() as session:
            rows = session.scalars(select(Artifact).where(Artifact.job_id == job_id))
            return {row.name: row for row in rows}

    def models(self, job_id: str) -> dict[str, Model]:
        with self.context.database.read() as session:
            rows = session.scalars(select(Model).where(Model.job_id == job_id))
            return {str(row.role): row for row in rows}

    def read_artifact(self, job_id: str, name: str) -> bytes:
        artifact = self.artifacts(job_id)[name]
        with closing(open_stored(self.context.storage, artifact.storage_key)) as file:
            return b"".join(iter(lambda: file.read(1 << 20), b""))
