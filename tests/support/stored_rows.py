"""Rows for tests that need them to be there, without a request for each."""

from __future__ import annotations

import time
from typing import Any

from service.db import Database
from service.identifiers import Prefix, new_id
from service.jobs.given_models import give
from service.names import name_key
from service.scopes import LOCAL_OWNER
from service.tables import Artifact, Dataset, Job, Model


def later_id(prefix: Prefix) -> str:
    """An id that sorts behind all that were made before; those of one millisecond come in any order."""
    time.sleep(0.002)
    return new_id(prefix)


def insert_dataset(database: Database, name: str, owner_id: str = LOCAL_OWNER, **columns: Any) -> str:
    dataset_id = later_id("ds")
    values: dict[str, Any] = {
        "id": dataset_id, "owner_id": owner_id, "name": name, "name_key": name_key(name), "format": "zip",
        "state": "ready", "size_bytes": 1, "sha256": "0" * 64,
        "storage_key": f"datasets/{dataset_id}/{dataset_id}.zip", "report": {"rows": 1},
    }  # fmt: skip
    with database.write() as session:
        session.add(Dataset(**values | columns))
    return dataset_id


def insert_model(database: Database, name: str, owner_id: str = LOCAL_OWNER, **columns: Any) -> str:
    model_id = later_id("mdl")
    values: dict[str, Any] = {
        "id": model_id, "owner_id": owner_id, "name": name, "name_key": name_key(name), "state": "ready",
        "source": "upload", "format": "bundle", "architecture": {"name": "mlp"}, "size_bytes": 1,
        "sha256": "0" * 64, "storage_key": f"models/{model_id}/bundle", "report": {"modality_kind": "vector"},
    }  # fmt: skip
    with database.write() as session:
        session.add(Model(**values | columns))
    return model_id


def insert_job(database: Database, dataset_id: str, owner_id: str = LOCAL_OWNER, **columns: Any) -> str:
    job_id = new_id("job")
    given = columns.pop("given", {})
    values: dict[str, Any] = {
        "id": job_id, "owner_id": owner_id, "kind": "train", "name": "job", "spec": {},
        "dataset_id": dataset_id,
    }  # fmt: skip
    with database.write() as session:
        session.add(Job(**values | columns))
        session.flush()
        give(session, {job_id: given})
    return job_id


def insert_artifact(database: Database, job_id: str, size_bytes: int) -> None:
    with database.write() as session:
        session.add(
            Artifact(
                job_id=job_id, attempt=1, name="student.zip", media_type="application/zip",
                size_bytes=size_bytes, sha256="0" * 64, storage_key=f"jobs/{job_id}/attempt-1/student.zip",
            )
        )  # fmt: skip
