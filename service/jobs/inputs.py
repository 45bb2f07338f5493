"""What a job reads: the dataset and the models that its spec names, held until the job is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

from sqlalchemy import Row, Select, bindparam, select
from sqlalchemy import Table as SqlTable
from sqlalchemy.orm import Session

from fdkd_core.errors import Problem
from fdkd_core.spec import AnyJobSpec
from fdkd_core.spec.named_models import named_models
from service.errors import NotFoundError, NotReadyError
from service.identifiers import Prefix, is_id
from service.jobs.waiting import NUM_WAITING
from service.names import name_key
from service.tables import Dataset, Model

DATASET_POINTER = "/spec/dataset"

What = Literal["dataset", "model"]
_PREFIXES: dict[What, Prefix] = {"dataset": "ds", "model": "mdl"}


@dataclass(frozen=True)
class Inputs:
    """Rows that are ready to be used."""

    dataset: Row[Any]
    models: Mapping[str, Row[Any]]
    """By role; see `fdkd_core.spec.named_models`."""

    @property
    def given(self) -> dict[str, str]:
        """Ids of the models, by role."""
        return {role: model.id for role, model in self.models.items()}

    def report(self, role: str) -> Mapping[str, Any] | None:
        """On the model of a role; None where none is given."""
        model = self.models.get(role)
        return None if model is None else cast(Mapping[str, Any], model.report)

    @property
    def num_waiting(self) -> int:
        """Jobs of the owner that wait already, up to the limit; it came with the dataset."""
        count: int = self.dataset.num_waiting
        return count


def find_inputs(session: Session, owner_id: str, spec: AnyJobSpec, *, max_waiting: int, hold: bool) -> Inputs:
    """Looks up what a spec names, by id or by name.

    Args:
        session: Of `Database.write()` when `hold`.
        owner_id: Whose they must be.
        spec: The job.
        max_waiting: Where to stop counting jobs that wait.
        hold: Keep them from being deleted until the transaction ends.

    Raises:
        NotFoundError: There is no such dataset or model, or it is another owner's.
        NotReadyError: It is still being validated, was found invalid, or was deleted.
    """
    find = partial(_find, session, owner_id, max_waiting, hold)
    dataset = find("dataset", spec.dataset, DATASET_POINTER)
    return Inputs(
        dataset,
        {
            role: find("model", model.reference, f"/spec{model.pointer}")
            for role, model in named_models(spec).items()
        },
    )


def hold_inputs(
    session: Session, owner_id: str, dataset_id: str, given: Mapping[str, str], *, max_waiting: int
) -> Inputs:
    """Holds the inputs of a job that is to be repeated.

    Raises:
        NotReadyError: One of them was deleted.
    """
    find = partial(_find, session, owner_id, max_waiting, True)
    return Inputs(
        find("dataset", dataset_id), {role: find("model", model_id) for role, model_id in given.items()}
    )


def _statement(table: SqlTable, is_named: bool, hold: bool) -> Select[Any]:
    columns = table.c
    statement = select(columns.id, columns.state, columns.deleted_at, columns.report)
    if table.name == "datasets":  # every job has one
        statement = statement.add_columns(NUM_WAITING.label("num_waiting"))
    statement = statement.where(columns.owner_id == bindparam("owner_id"))
    if is_named:
        statement = statement.where(columns.name_key == bindparam("reference"), columns.deleted_at.is_(None))
    else:
        statement = statement.where(columns.id == bindparam("reference"))
    # Shared: jobs over one dataset do not wait for each other, only whoever deletes it waits for them.
    return statement.with_for_update(read=True, of=table) if hold else statement


# Made once: to build a statement anew takes longer than to run it.
_STATEMENTS: dict[tuple[What, bool, bool], Select[Any]] = {
    (what, is_named, hold): _statement(cast(SqlTable, table.__table__), is_named, hold)
    for what, table in cast(dict[What, type[Dataset | Model]], {"dataset": Dataset, "model": Model}).items()
    for is_named in (True, False)
    for hold in (True, False)
}


def _find(
    session: Session,
    owner_id: str,
    max_waiting: int,
    hold: bool,
    what: What,
    reference: str,
    pointer: str | None = None,
) -> Row[Any]:
    is_named = not is_id(reference, _PREFIXES[what])
    wanted: dict[str, Any] = {
        "owner_id": owner_id,
        "reference": name_key(reference) if is_named else reference,
    }
    if what == "dataset":
        wanted["at_most"] = max_waiting
    row = session.execute(_STATEMENTS[what, is_named, hold], wanted).one_or_none()
    if row is None:
        detail = NotFoundError.of(what, reference).detail
        raise NotFoundError(detail, problems=[Problem("not_found", detail, pointer)])
    if row.deleted_at is not None or row.state != "ready":
        state = "deleted" if row.deleted_at is not None else row.state
        detail = f"The {what} is {state}; a job needs one that is ready."
        if pointer is None:
            detail = (
                f"The {what} {reference} is {state}, without which the job cannot go on where it was. "
                "Post its spec as a new job."
            )
        raise NotReadyError(detail, problems=[Problem("not_ready", detail, pointer)], state=state)
    return row
