"""What a trainer needs of the store: the data, the given models, and a spec that speaks of local files.

A comparison is concluded from what its children found, and needs neither.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from fdkd_core.errors import FDKDError
from fdkd_core.spec import AnyJobSpec, TeachingSpec, load_spec, teacher_name
from fdkd_core.spec.architectures import ArchitectureSpec
from fdkd_core.spec.named_models import START, with_start, with_teachers
from fdkd_core.spec.result import CANCELLED
from service.jobs.families import TEACHER
from service.jobs.given_models import given_to
from service.jobs.states import JobState
from service.storage import Storage
from service.tables import Dataset, Job, Model

_ARCHITECTURE: TypeAdapter[ArchitectureSpec] = TypeAdapter(ArchitectureSpec)
_SUFFIXES = {"safetensors": ".safetensors", "onnx": ".onnx"}
"""By which the core tells the formats apart; a bundle is a folder."""


class MissingInputError(FDKDError):
    """The job's dataset or one of its models has been deleted."""

    code = "input_missing"


@dataclass(frozen=True)
class StoredInputs:
    """Where a job's inputs lie in the store."""

    dataset_key: str
    models: dict[str, Model]
    """By role."""
    arms: dict[str, Any] | None
    """Of a comparison: the content of ARMS.json (`fdkd_core.studies.arm_results`)."""


@dataclass(frozen=True)
class LocalInputs:
    """The same as files in the attempt's folder, relative to it."""

    spec: Path
    data: Path
    arms: Path | None = None


def find_inputs(session: Session, job: Job) -> StoredInputs:
    """Looks up the rows of a job's dataset and models, and of its children where it has some.

    Raises:
        MissingInputError: One of them is gone.
    """
    dataset = session.get(Dataset, job.dataset_id)
    models = {role: session.get(Model, model_id) for role, model_id in given_to(session, job.id).items()}
    there = {role: model for role, model in models.items() if model is not None}
    if dataset is None or len(there) < len(models):
        raise MissingInputError
    return StoredInputs(dataset.storage_key, there, _arms(session, job))


def _arms(session: Session, job: Job) -> dict[str, Any] | None:
    """What became of each arm of a comparison: its own, and those of the comparison that it repeats."""
    if job.children is None:
        return None
    members = (Job.parent_id == job.id) | Job.id.in_(list(job.children["adopted"].values()))
    rows = session.execute(
        select(Job.id, Job.name, Job.state, Job.result, Job.error)
        .where(members)
        .order_by(Job.id)  # the same file in every attempt: its hash is part of what the run is known by
    )
    found = {row.name: row.result if row.result is not None else _reason(row) for row in rows}
    teacher = found.pop(TEACHER, {}).get("student")  # what its own job made
    return {"teacher": teacher, "arms": found}


def _reason(arm: Any) -> dict[str, str]:
    if arm.state == JobState.CANCELLED:
        return {"error": CANCELLED}
    return {"error": f"{arm.error['code']}: {arm.error['message']}"}


def fetch_inputs(storage: Storage, job: Job, stored: StoredInputs, folder: Path) -> LocalInputs:
    """Fills the folder `inputs` of an attempt.

    Args:
        storage: The object store.
        job: The job.
        stored: What to fetch.
        folder: The attempt's folder.

    Raises:
        MissingInputError: A file is gone.
        SpecError: The job's spec cannot be read by this release.
        OSError: The disk is full.
    """
    spec = load_spec(job.spec)
    inputs = folder / "inputs"
    data = inputs / Path(stored.dataset_key).name
    if stored.arms is not None:
        arms = inputs / "arms.json"
        arms.write_text(json.dumps(stored.arms))
        return LocalInputs(_write_spec(spec, folder), data.relative_to(folder), arms.relative_to(folder))
    try:
        storage.fetch(stored.dataset_key, data)
        for model in {model.id: model for model in stored.models.values()}.values():
            storage.fetch(model.storage_key, inputs / _local_name(model))
    except FileNotFoundError:
        raise MissingInputError from None
    spec = _naming_files(spec, stored.models)
    return LocalInputs(_write_spec(spec, folder), data.relative_to(folder))


def _local_name(model: Model) -> str:
    """A stable name: it enters the identity of the run, by which an attempt knows its checkpoints."""
    return str(model.id) + _SUFFIXES.get(model.format, "")


def _naming_files(spec: AnyJobSpec, models: dict[str, Model]) -> AnyJobSpec:
    """The spec with the names of local files for those of models."""
    teachers = {}
    for index, teacher in enumerate(spec.teachers if isinstance(spec, TeachingSpec) else ()):
        model = models.get(teacher_name(index))
        if model is None:
            continue
        changes: dict[str, Any] = {"model": _local_name(model)}
        if teacher.architecture is None and model.format == "safetensors":
            changes["architecture"] = _ARCHITECTURE.validate_json(json.dumps(model.architecture))
        teachers[teacher_name(index)] = teacher.model_copy(update=changes)
    spec = with_teachers(spec, teachers)
    return with_start(spec, _local_name(models[START])) if START in models else spec


def _write_spec(spec: AnyJobSpec, folder: Path) -> Path:
    path = folder / "inputs" / "spec.json"
    path.write_text(spec.model_dump_json())
    return path.relative_to(folder)
