"""Queries about jobs. States change elsewhere: in `transitions`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Row, Select, bindparam, func, insert, literal, not_, select
from sqlalchemy import Table as SqlTable
from sqlalchemy.orm import Session

from service.errors import NotFoundError
from service.identifiers import is_id
from service.jobs.comparisons import Family, new_ids
from service.jobs.families import lock_parent, summarise
from service.jobs.given_models import Given, give, given_column
from service.jobs.moves import record_queued
from service.jobs.schemas import HistoryQuery, JobQuery, MetricQuery
from service.jobs.states import JobState
from service.pagination import Page
from service.table_base import Json
from service.tables import Job, JobEvent, JobLog, JobMetric, Model

# Statements on the way of every request are made once, over tables instead of classes: to build one anew, and
# to load a class from it, takes several times as long as to run it.
_JOBS = cast(SqlTable, Job.__table__)
QUEUED_EVENT = "job.queued"

READ = tuple(
    _JOBS.c[name]
    for name in (
        "id", "kind", "name", "state", "cancel_requested_at", "spec", "labels", "dataset_id",
        "retry_of", "parent_id", "waits_for", "children", "progress", "result", "error",
        "attempt", "created_at", "started_at", "finished_at", "version",
    )
)  # fmt: skip
"""Columns of a job that its owner may read."""

SHOWN = (*READ, given_column(_JOBS))
"""The same, and the models that it is given."""

_SHOW = select(*SHOWN).where(_JOBS.c.id == bindparam("job_id"), _JOBS.c.owner_id == bindparam("owner_id"))
_GIVEN = bindparam("given", type_=Json).label("given")
"""What is about to be written beside the job, in the form in which `given_column` reads it."""
_INSERT = insert(_JOBS).returning(*READ, _GIVEN)
_INSERT_CHILDREN = insert(_JOBS)


def _insert_with_event() -> Select[Any]:
    """The job and the first event of its history in one statement, which SQLite has no syntax for."""
    names = (
        "id", "owner_id", "kind", "name", "state", "spec", "labels", "dataset_id", "retry_of",
        "work_key", "gpus",
    )  # fmt: skip
    values = {name: bindparam(name, type_=_JOBS.c[name].type) for name in names}
    made = insert(_JOBS).values(values).returning(*READ).cte("made")
    events = cast(SqlTable, JobEvent.__table__)
    event = {
        "job_id": made.c.id,
        "attempt": literal(0),
        "type": literal(QUEUED_EVENT),
        "data": bindparam("data", {}, type_=events.c.data.type),
    }
    noted = insert(events).from_select(list(event), select(*event.values())).cte("noted")
    return select(made, _GIVEN).add_cte(noted)


_INSERT_WITH_EVENT = _insert_with_event()


def show(session: Session, owner_id: str, job_id: str) -> Row[Any]:
    """Reads a job of this owner.

    Raises:
        NotFoundError: There is no such job, or it is another owner's.
    """
    require_id(job_id)
    row = session.execute(_SHOW, {"job_id": job_id, "owner_id": owner_id}).one_or_none()
    if row is None:
        raise NotFoundError.of("job", job_id)
    return row


def show_child(session: Session, owner_id: str, parent_id: str, name: str) -> Row[Any]:
    """Reads the part of a comparison that has this name."""
    found = session.execute(select(Job.id).where(Job.parent_id == parent_id, Job.name == name)).scalar_one()
    return show(session, owner_id, found)


def require_id(job_id: str) -> None:
    """Refuses what has not the form of a job's id before it reaches a query.

    Raises:
        NotFoundError: There can be no such job.
    """
    if not is_id(job_id, "job"):
        raise NotFoundError.of("job", job_id)


def require_owner(session: Session, owner_id: str, job_id: str) -> None:
    """Makes sure that a job is this owner's.

    Raises:
        NotFoundError: There is no such job, or it is another owner's.
    """
    require_id(job_id)
    if session.scalar(select(Job.id).where(Job.id == job_id, Job.owner_id == owner_id)) is None:
        raise NotFoundError.of("job", job_id)


def lock(session: Session, owner_id: str, job_id: str) -> Job:
    """Reads a job of this owner and keeps others from changing it, or its family, until the transaction ends.

    Raises:
        NotFoundError: There is no such job, or it is another owner's.
    """
    require_owner(session, owner_id, job_id)
    lock_parent(session, job_id)
    job = session.scalars(select(Job).where(Job.id == job_id).with_for_update()).one_or_none()
    if job is None:  # deleted while this waited for the lock
        raise NotFoundError.of("job", job_id)
    return job


def page_of_jobs(
    session: Session, owner_id: str, page: Page[JobQuery]
) -> tuple[Sequence[Row[Any]], str | None]:
    """Reads a page of jobs, newest first, and the cursor of the next page."""
    query = page.query
    owner: ColumnElement[str] = _JOBS.c.owner_id
    if query.dataset_id is not None and session.get_bind().dialect.name == "sqlite":
        # Without statistics it takes the owner's index, and reads all their jobs to find those of a dataset.
        owner = owner.concat("")
    statement = select(*SHOWN).where(owner == owner_id)
    if query.parent_id is None and not query.include_children:
        # "IS NULL" says the same, but PostgreSQL takes that for rare until it has statistics, and sorts all.
        statement = statement.where(not_(func.coalesce(_JOBS.c.parent_id != "", False)))
    filters = query.model_dump(exclude={"limit", "cursor", "include_children"}, exclude_none=True)
    for name, wanted in filters.items():
        statement = statement.where(_JOBS.c[name] == wanted)
    return page.cut(session.execute(page.slice(statement, _JOBS.c.id)).all())


def models_of(session: Session, jobs: Iterable[Row[Any] | Job]) -> dict[str, dict[str, str | None]]:
    """The models that succeeded jobs made, by job; those deleted since are still named."""
    ids = [job.id for job in jobs if job.state == JobState.SUCCEEDED]
    found: dict[str, dict[str, str | None]] = {job_id: {"student": None, "teacher": None} for job_id in ids}
    if ids:
        for model in session.execute(select(Model.job_id, Model.role, Model.id).where(Model.job_id.in_(ids))):
            found[str(model.job_id)][str(model.role)] = model.id
    return found


def insert_job(session: Session, family: Family | None, *, given: Given, **values: Any) -> Row[Any]:
    """Adds a queued job with the first event of its history, and its children likewise.

    Args:
        session: Of `Database.write()`.
        family: What it consists of; None when it is one job.
        given: Its models.
        values: Its columns.
    """
    *child_ids, job_id = new_ids(0 if family is None else len(family.children))
    row = {"id": job_id, "state": JobState.QUEUED, "given": dict(given), **values}
    if family is None:
        if session.get_bind().dialect.name == "postgresql":
            # Each statement is a round trip there.
            job = session.execute(_INSERT_WITH_EVENT, {"retry_of": None, "work_key": None, **row}).one()
        else:
            job = session.execute(_INSERT, row).one()
            record_queued(session, [job_id])
        give(session, {job_id: given})
        return job
    shared = {name: values[name] for name in ("owner_id", "labels", "dataset_id")}
    children = [
        {"id": child_id, "parent_id": job_id, "state": JobState.QUEUED, **shared, **child.columns}
        for child_id, child in zip(child_ids, family.children, strict=True)
    ]
    row["waits_for"] = family.waits_for
    row["children"] = summarise([child["state"] for child in children], family.adopted)
    job = session.execute(_INSERT, row).one()
    if children:
        session.execute(_INSERT_CHILDREN, children)
    their_models = {child_id: child.given for child_id, child in zip(child_ids, family.children, strict=True)}
    give(session, {job_id: given, **their_models})
    record_queued(session, [job_id, *child_ids])
    return job


def events(session: Session, job_id: str, query: HistoryQuery) -> Sequence[Row[Any]]:
    """Reads what happened to a job, and one row more than asked for where there is more."""
    columns = (JobEvent.id, JobEvent.type, JobEvent.attempt, JobEvent.data, JobEvent.created_at)
    statement = select(*columns).where(JobEvent.job_id == job_id, JobEvent.id > query.after)
    return session.execute(statement.order_by(JobEvent.id).limit(query.limit + 1)).all()


def metrics(session: Session, job_id: str, query: MetricQuery) -> Sequence[Row[Any]]:
    """Reads a job's training curves, and one row more than asked for where there is more."""
    columns = (
        JobMetric.id, JobMetric.phase, JobMetric.kind, JobMetric.step, JobMetric.epoch, JobMetric.figures,
        JobMetric.created_at,
    )  # fmt: skip
    statement = select(*columns).where(JobMetric.job_id == job_id, JobMetric.id > query.after)
    if query.phase is not None:
        statement = statement.where(JobMetric.phase == query.phase)
    if query.kind is not None:
        statement = statement.where(JobMetric.kind == query.kind)
    return session.execute(statement.order_by(JobMetric.id).limit(query.limit + 1)).all()


def logs(session: Session, job_id: str, query: HistoryQuery) -> Sequence[Row[Any]]:
    """Reads the lines of a job's log, and one row more than asked for where there is more."""
    columns: tuple[Any, ...] = (JobLog.id, JobLog.attempt, JobLog.source, JobLog.line, JobLog.created_at)
    statement = select(*columns).where(JobLog.job_id == job_id, JobLog.id > query.after)
    return session.execute(statement.order_by(JobLog.id).limit(query.limit + 1)).all()
