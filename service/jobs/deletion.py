"""Deleting a job that has ended, with all that it made; why it is done so is in decision 33.

The rows go first, in one transaction, and the files behind them: whoever dies in between leaves files that no
row speaks of, which the sweep removes (`orphans`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete as delete_from
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from service import failpoints
from service.auth import Caller
from service.context import Context
from service.db import db_now
from service.errors import InUseError, IsChildError, NotTerminalError
from service.jobs import repository
from service.jobs.states import TERMINAL
from service.tables import Artifact, Job, JobEvent, JobLog, JobMetric, JobModel, Model

_OF_JOBS = (JobEvent, JobMetric, JobLog, Artifact, JobModel)
_MAX_NAMED = 100
"""Things in the way that a refusal names."""
_BLIND = {"synchronize_session": False}
"""Nothing that the session has loaded is looked at afterwards."""


def delete(context: Context, caller: Caller, job_id: str, *, with_models: bool) -> None:
    """Deletes a job that has ended, a comparison with its children; their bytes are free again.

    Args:
        context: Of the process.
        caller: Whose job it must be.
        job_id: The job.
        with_models: Delete the models that it made, too. Without this they must have been deleted before.

    Raises:
        NotFoundError: No such job.
        IsChildError: It is part of a comparison, which is deleted as a whole.
        NotTerminalError: It has not ended yet.
        InUseError: A repetition needs it, its models are still there, or a job that has not ended has one.
    """
    with context.database.write() as session:
        job = repository.lock(session, caller.owner_id, job_id)
        _check_deletable(job)
        # The lock on a parent keeps its children as they are; it ended after them.
        children = session.scalars(select(Job.id).where(Job.parent_id == job.id)).all()
        members = [job.id, *children]
        _check_not_repeated(session, job)
        _check_models(session, members, with_models)
        _delete_rows(session, members)
    failpoints.reach("jobs.deleted")
    for member in members:
        context.storage.delete(f"jobs/{member}")


def _check_deletable(job: Job) -> None:
    if job.parent_id is not None:
        raise IsChildError(
            f"The job is part of {job.parent_id}; delete that, and this one goes with it.",
            parent_id=job.parent_id,
        )
    if job.state not in TERMINAL:
        raise NotTerminalError(
            f"The job is {job.state}; cancel it first: only one that has ended is deleted.", state=job.state
        )


def _check_not_repeated(session: Session, job: Job) -> None:
    """A repetition needs the checkpoints of a job until it has ended, and those of a comparison for ever."""
    repeats = Job.retry_of == job.id
    if job.children is not None:
        # It may have taken over what children of this one found (`children.adopted`).
        found = session.scalars(select(Job.id).where(repeats).order_by(Job.id).limit(_MAX_NAMED)).all()
        reason = "repeats the comparison, and goes on from what its jobs found; delete that first"
    else:
        # One that was cancelled before it began handed the folder on to its own repetition.
        goes_on = Job.work_key.startswith(f"{job.id}/", autoescape=True)
        is_alive = (Job.owner_id == job.owner_id) & Job.state.not_in(TERMINAL)
        statement = select(Job.id).where(is_alive, or_(repeats, goes_on)).order_by(Job.id)
        found = session.scalars(statement.limit(_MAX_NAMED)).all()
        reason = "goes on from its checkpoints and has not ended"
    if found:
        raise InUseError(f"{found[0]} {reason}.", jobs=list(found))


def _check_models(session: Session, members: Sequence[str], with_models: bool) -> None:
    """Deletes the models of these jobs, or makes sure that none is left."""
    made = Model.job_id.in_(members)
    is_there = made & Model.deleted_at.is_(None)
    # In the middle of a comparison a model may teach although it was deleted: its files were still there.
    users = (
        select(Job.id)
        .join(JobModel, JobModel.job_id == Job.id)
        .join(Model, Model.id == JobModel.model_id)
        .where(made, Job.state.not_in(TERMINAL))
    )
    names = select(Model.id).where(is_there).order_by(Model.id)
    found = session.scalars(names).all()
    if found and not with_models:
        named = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        raise InUseError(
            f"Models that it made are still there ({named}); delete them first, or use with_models=true.",
            models=list(found[:_MAX_NAMED]),
        )
    # A job that is being posted holds its models one by one: to wait for them here could be a deadlock.
    held = session.scalars(names.with_for_update(skip_locked=True)).all()
    if len(held) < len(found):
        raise InUseError("A model that it made is being given to a job in this moment.")
    used_by = session.scalars(users.order_by(Job.id).limit(_MAX_NAMED)).all()
    if used_by:
        raise InUseError(
            f"A model that it made teaches {used_by[0]}, or was its beginning, and that has not ended.",
            jobs=list(used_by),
        )
    session.execute(update(Model).where(is_there).values(deleted_at=db_now()), execution_options=_BLIND)


def _delete_rows(session: Session, members: Sequence[str]) -> None:
    # Rows of deleted models stay, since jobs that were given them name them; so do their other columns.
    session.execute(
        update(Model).where(Model.job_id.in_(members)).values(job_id=None), execution_options=_BLIND
    )
    repeated = Job.retry_of.in_(members) & Job.id.not_in(members)
    session.execute(
        update(Job).where(repeated).values(retry_of=None, version=Job.version + 1), execution_options=_BLIND
    )
    for table in _OF_JOBS:
        session.execute(delete_from(table).where(table.job_id.in_(members)), execution_options=_BLIND)
    session.execute(delete_from(Job).where(Job.id.in_(members)), execution_options=_BLIND)
