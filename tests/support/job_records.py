"""Rows that a job needs around it: a dataset that is ready, a teacher, the job itself in any state."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from service.db import Database, db_now
from service.identifiers import new_id
from service.jobs import transitions
from service.jobs.given_models import give, given_to
from service.jobs.states import JobEventType, JobState
from service.scopes import LOCAL_OWNER
from service.settings import Settings
from service.tables import Dataset, Job, Model, Table

SPEC: dict[str, Any] = {
    "kind": "distill",
    "name": "images teach sounds",
    "dataset": "pairs",
    "task": {"kind": "classification"},
    "teacher": {"modality": "image"},
    "student": {"modality": "audio"},
}
TRAIN_SPEC: dict[str, Any] = {
    "kind": "train",
    "dataset": "pairs",
    "task": {"kind": "classification"},
    "student": {"modality": "audio"},
}
REPORT: dict[str, Any] = {
    "sha256": "0" * 64,
    "rows": 3000,
    "classes": [str(i) for i in range(10)],
    "splits": {
        split: {"rows": 1000, "classes": {str(i): 100 for i in range(10)}}
        for split in ("train", "val", "test")
    },
    "modalities": {
        "image": {"kind": "image", "input_shape": [1, 16, 16], "input_dtype": "float32"},
        "audio": {"kind": "audio", "input_shape": [1, 40, 64], "input_dtype": "float32"},
    },
    "duplicates": [],
    "warnings": ["two rows look alike"],
}
MODEL_REPORT: dict[str, Any] = {
    "format": "bundle",
    "modality_kind": "image",
    "input_shape": [1, 16, 16],
    "vocab_size": None,
    "source_channels": None,
    "classes": [str(i) for i in range(10)],
    "parameters": 12345,
    "architecture": {"name": "mlp", "width": 8, "depth": 1, "dropout": 0.0},
    "dimensions": {"num_classes": 10, "inputs": 256},
}


def spec(**changes: Any) -> dict[str, Any]:
    """The spec of a distillation; keyword arguments replace top-level fields."""
    return {**copy.deepcopy(SPEC), **changes}


def open_tables(database_url: str, data_dir: Path) -> Database:
    """A database with empty tables, without an API around it."""
    settings = Settings(database_url=database_url, data_dir=data_dir)
    settings.make_folders()
    database = Database(settings.resolved_database_url)
    Table.metadata.create_all(database.engine.execution_options(fdkd_write=True))
    return database


def add_dataset(database: Database, **columns: Any) -> str:
    """A dataset, ready unless the columns say otherwise; its id."""
    dataset_id = new_id("ds")
    values: dict[str, Any] = {
        "owner_id": LOCAL_OWNER,
        "name": "pairs",
        "format": "zip",
        "size_bytes": 1,
        "sha256": "0" * 64,
        "storage_key": f"datasets/{dataset_id}/{dataset_id}.zip",
        "state": "ready",
        "report": REPORT,
        **columns,
    }
    with database.write() as session:
        session.add(Dataset(id=dataset_id, name_key=values["name"].casefold(), **values))
    return dataset_id


def add_model(database: Database, **columns: Any) -> str:
    """A model of images, ready unless the columns say otherwise; its id."""
    model_id = new_id("mdl")
    values: dict[str, Any] = {
        "owner_id": LOCAL_OWNER,
        "name": "teacher",
        "source": "upload",
        "format": "bundle",
        "architecture": MODEL_REPORT["architecture"],
        "report": MODEL_REPORT,
        "size_bytes": 1,
        "sha256": "0" * 64,
        "storage_key": f"models/{model_id}/bundle",
        "state": "ready",
        **columns,
    }
    with database.write() as session:
        session.add(Model(id=model_id, name_key=values["name"].casefold(), **values))
    return model_id


def add_job(database: Database, dataset_id: str, **columns: Any) -> str:
    """A queued job, written without the API; its id. `given` are its models, by role."""
    job_id = new_id("job")
    given = columns.pop("given", {})
    values: dict[str, Any] = {
        "owner_id": LOCAL_OWNER,
        "kind": "distill",
        "name": "job",
        "spec": SPEC,
        "labels": {},
        "dataset_id": dataset_id,
        **columns,
    }
    with database.write() as session:
        session.add(Job(id=job_id, **values))
        session.flush()
        give(session, {job_id: given})
    return job_id


def given_models(database: Database, job_id: str) -> dict[str, str]:
    """The models that a job is given, by role."""
    with database.read() as session:
        return given_to(session, job_id)


def add_job_in(database: Database, dataset_id: str, state: JobState, **columns: Any) -> str:
    """A job that came into its state by the only way there is."""
    job_id = add_job(database, dataset_id, **columns)
    with database.write() as session:
        if state is JobState.CANCELLED:
            transitions.apply(session, job_id, JobEventType.CANCELLED)
        elif state is not JobState.QUEUED:
            assert transitions.claim(session, "wrk_a", 30, job_id) is not None
            if state is JobState.SUCCEEDED:
                transitions.apply(session, job_id, JobEventType.SUCCEEDED, attempt=1, result={"seconds": 1.0})
            elif state is JobState.FAILED:
                error = {"code": "diverged", "message": "m", "phase": "student", "retryable": False}
                transitions.apply(session, job_id, JobEventType.FAILED, attempt=1, error=error)
    return job_id


def expire_lease(database: Database, job_id: str) -> None:
    """Makes the lease of a running job run out, as time would."""
    with database.write() as session:
        job = session.get_one(Job, job_id)
        job.lease_expires_at = db_now(-1)  # type: ignore[assignment]
