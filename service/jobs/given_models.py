"""Which models jobs are given, by role: one row for each, in `job_models`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import ColumnElement, exists, insert, select
from sqlalchemy import Table as SqlTable
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from service.jobs.states import TERMINAL
from service.table_base import Json
from service.tables import Job, JobModel

Given = Mapping[str, str]
"""Ids of models by role: `teacher`, `teacher2`, ... and `start` (`fdkd_core.spec.named_models`)."""

_GIVEN = cast(SqlTable, JobModel.__table__)
_INSERT = insert(_GIVEN)


class _object_of(FunctionElement[Any]):  # noqa: N801 - reads as the SQL function it is
    """A JSON object of the rows' keys and values; null or empty where there are no rows."""

    type = Json
    inherit_cache = True


@compiles(_object_of, "sqlite")
def _sqlite_object(element: _object_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_group_object({compiler.process(element.clauses, **options)})"


@compiles(_object_of, "postgresql")
def _postgresql_object(element: _object_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"jsonb_object_agg({compiler.process(element.clauses, **options)})"


def given_column(jobs: SqlTable) -> ColumnElement[Any]:
    """`Given` as a column of a query about jobs, named `given`: one round trip shows a job whole."""
    made = select(_object_of(_GIVEN.c.role, _GIVEN.c.model_id)).where(_GIVEN.c.job_id == jobs.c.id)
    return made.correlate(jobs).scalar_subquery().label("given")


def given_to(session: Session, job_id: str) -> dict[str, str]:
    """The models of one job, by role."""
    rows = session.execute(select(_GIVEN.c.role, _GIVEN.c.model_id).where(_GIVEN.c.job_id == job_id))
    return {row.role: row.model_id for row in rows}


def give(session: Session, models: Mapping[str, Given]) -> None:
    """Notes the models of jobs that are there, by their ids.

    Args:
        session: Of `Database.write()`; the models are held.
        models: By job.
    """
    rows = [
        {"job_id": job_id, "role": role, "model_id": model_id}
        for job_id, given in models.items()
        for role, model_id in given.items()
    ]
    if rows:
        session.execute(_INSERT, rows)


def is_used(session: Session, model_id: str) -> bool:
    """Whether a job that has not ended is given the model, for whatever role."""
    used = exists().where(
        JobModel.model_id == model_id, JobModel.job_id == Job.id, Job.state.not_in(TERMINAL)
    )
    return bool(session.scalar(select(used)))
