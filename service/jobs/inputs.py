"""What a job reads: the dataset and the teacher that its spec names, held until the job is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from fdkd_core.errors import Problem
from fdkd_core.spec import DistillSpec, TrainSpec
from service.errors import NotFoundError, NotReadyError
from service.identifiers import is_id
from service.names import name_key
from service.tables import Dataset, Model

DATASET_POINTER = "/spec/dataset"
TEACHER_POINTER = "/spec/teacher/model"


@dataclass(frozen=True)
class Inputs:
    """Rows that are ready to be used."""

    dataset: Row[Any]
    teacher: Row[Any] | None


def find_inputs(session: Session, owner_id: str, spec: DistillSpec | TrainSpec, *, hold: bool) -> Inputs:
    """Looks up what a spec names, by id or by name.

    Args:
        session: Of `Database.write()` when `hold`.
        owner_id: Whose they must be.
        spec: The job.
        hold: Keep them from being deleted until the transaction ends.

    Raises:
        NotFoundError: There is no such dataset or model, or it is another owner's.
        NotReadyError: It is still being validated, was found invalid, or was deleted.
    """
    teacher = spec.teacher.model if isinstance(spec, DistillSpec) else None
    return Inputs(
        _find(session, _datasets(owner_id, spec.dataset), hold, "dataset", DATASET_POINTER),
        None
        if teacher is None
        else _find(session, _models(owner_id, teacher), hold, "model", TEACHER_POINTER),
    )


def hold_inputs(session: Session, owner_id: str, dataset_id: str, teacher_model_id: str | None) -> Inputs:
    """Holds the inputs of a job that is to be repeated.

    Raises:
        NotReadyError: One of them was deleted.
    """
    return Inputs(
        _find(session, _datasets(owner_id, dataset_id), True, "dataset", None),
        None
        if teacher_model_id is None
        else _find(session, _models(owner_id, teacher_model_id), True, "model", None),
    )


def _datasets(owner_id: str, reference: str) -> Select[Any]:
    statement = select(Dataset.id, Dataset.state, Dataset.deleted_at, Dataset.report).where(
        Dataset.owner_id == owner_id
    )
    if is_id(reference, "ds"):
        return statement.where(Dataset.id == reference)
    return statement.where(Dataset.name_key == name_key(reference), Dataset.deleted_at.is_(None))


def _models(owner_id: str, reference: str) -> Select[Any]:
    statement = select(Model.id, Model.state, Model.deleted_at, Model.report).where(
        Model.owner_id == owner_id
    )
    if is_id(reference, "mdl"):
        return statement.where(Model.id == reference)
    return statement.where(Model.name_key == name_key(reference), Model.deleted_at.is_(None))


def _find(session: Session, statement: Select[Any], hold: bool, what: str, pointer: str | None) -> Row[Any]:
    if hold:
        # Shared: jobs over one dataset do not wait for each other, only whoever deletes it waits for them.
        statement = statement.with_for_update(read=True)
    row = session.execute(statement).one_or_none()
    if row is None:
        detail = f"There is no such {what}, or it is not yours."
        raise NotFoundError(detail, problems=[Problem("not_found", detail, pointer)])
    if row.deleted_at is not None or row.state != "ready":
        state = "deleted" if row.deleted_at is not None else row.state
        detail = f"The {what} is {state}; a job needs one that is ready."
        raise NotReadyError(detail, problems=[Problem("not_ready", detail, pointer)], state=state)
    return row
