"""A comparison and the jobs it is made of: who waits for whom, and what the end of one means to the others.

A parent is `queued` until its first child begins, `running` without a lease while children are under way,
`queued` again when all have ended, and is then claimed like any job, to conclude. Children belong to stages;
those of a later stage wait until the one before has ended.

Everything here is decided under a lock on the parent's row, which is taken before that of a child, and from
what the children's rows say then: two children that end at once are settled one after the other. A parent
ends only when none of its children runs or waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import Row, Select, bindparam, func, select, update
from sqlalchemy import Table as SqlTable
from sqlalchemy.orm import Session

from fdkd_core.spec import teacher_name
from fdkd_core.spec.compare import NO_TEACHER
from service.db import db_now
from service.jobs.given_models import give
from service.jobs.moves import move, record_event, wish_cancellation
from service.jobs.states import TERMINAL, JobEventType, JobState
from service.tables import Job, Model

TEACHER = teacher_name(0)
"""Name of the child that trains the teacher, and role of the model that it makes."""
INDISPENSABLE = (TEACHER, NO_TEACHER)
"""Without the teacher nothing can be taught, without the control there is nothing to compare with."""
CHILD_FAILED = "child_failed"
"""Code of the error of a comparison that lacks one of them."""
PHASE = "children"
"""Of a parent's progress while its children are under way."""

_JOBS = cast(SqlTable, Job.__table__)

_CHILD = _JOBS.alias("child")
_PARENT_OF = select(_CHILD.c.parent_id).where(_CHILD.c.id == bindparam("job_id")).scalar_subquery()
_LOCK_PARENT = select(_JOBS.c.id).where(_JOBS.c.id == _PARENT_OF).with_for_update(key_share=True)
_READ_PARENT: Select[Any] = select(
    _JOBS.c.id, _JOBS.c.state, _JOBS.c.attempt, _JOBS.c.cancel_requested_at, _JOBS.c.children
).where(_JOBS.c.id == bindparam("parent_id"))
_READ_CHILDREN: Select[Any] = (
    select(
        _JOBS.c.id,
        _JOBS.c.name,
        _JOBS.c.state,
        _JOBS.c.waits_for,
        _JOBS.c.cancel_requested_at,
        _JOBS.c.error,
        _JOBS.c.started_at,
    )
    .where(_JOBS.c.parent_id == bindparam("parent_id"))
    .order_by(_JOBS.c.id)
)


def lock_parent(session: Session, job_id: str) -> str | None:
    """Locks the parent of a job until the transaction ends, before anything of the job itself is locked.

    Returns:
        Its id; None when the job has no parent.
    """
    return session.execute(_LOCK_PARENT, {"job_id": job_id}).scalar()


def summarise(states: Iterable[str], adopted: dict[str, str]) -> dict[str, Any]:
    """`Job.children` of a parent with children in these states, and with adopted ones."""
    counts = Counter(states)
    return {**{str(state): counts[state] for state in JobState}, "adopted": adopted}


def settle(session: Session, parent_id: str, ended: Job | None = None) -> None:
    """Draws the consequences of what has happened to a child, for its siblings and for its parent.

    Args:
        session: Of `Database.write()`; the parent is locked.
        parent_id: The parent.
        ended: The child, when this was its end.
    """
    if ended is not None:
        _record_end(session, parent_id, ended)
    parent = session.execute(_READ_PARENT, {"parent_id": parent_id}).one()
    children = _read(session, parent_id)
    blamed = next(iter(sorted(filter(_is_fatal, children), key=_was_cancelled)), None)
    if (blamed is not None or parent.cancel_requested_at is not None) and _cancel_all(session, children):
        children = _read(session, parent_id)
    changes = _figures(parent, children)
    # One whose arms were cancelled in line, some of them, waits as before: nothing of it has had a turn.
    has_begun = any(child.started_at is not None for child in children)
    is_under_way = any(_is_under_way(child) for child in children)
    if parent.state == JobState.QUEUED and (has_begun or not is_under_way):
        started = func.coalesce(Job.started_at, db_now()) if has_begun else None
        move(session, parent_id, JobEventType.CHILDREN_STARTED, started_at=started)
    if is_under_way:
        _write(session, parent_id, changes)
    elif parent.cancel_requested_at is not None:
        move(session, parent_id, JobEventType.CHILDREN_STOPPED, **changes)
    elif blamed is not None and _was_cancelled(blamed):
        # Who cancels what a comparison cannot do without cancels the comparison; nothing of it went wrong.
        data = {"child": blamed.id, "name": blamed.name}
        changes["cancel_requested_at"] = blamed.cancel_requested_at
        move(session, parent_id, JobEventType.CHILDREN_STOPPED, data=data, **changes)
    elif blamed is not None:
        data = {"child": blamed.id, "name": blamed.name}
        move(session, parent_id, JobEventType.CHILD_FAILED, data=data, error=_error(blamed), **changes)
    elif any(child.waits_for is not None for child in children):
        _begin_next_stage(session, children)
        _write(session, parent_id, changes)
    else:
        move(session, parent_id, JobEventType.CHILDREN_ENDED, waits_for=None, **changes)


def cancel(session: Session, parent_id: str) -> None:
    """Cancels a parent that waits for its children, and with it all of them.

    Those that wait are cancelled at once, those that run by a wish, the parent when none runs any more.

    Args:
        session: Of `Database.write()`; the parent is locked.
        parent_id: The parent; nobody has asked before.
    """
    parent = session.execute(_READ_PARENT, {"parent_id": parent_id}).one()
    if parent.state == JobState.RUNNING:
        wish_cancellation(session, parent_id)
        settle(session, parent_id)
        return
    _cancel_all(session, _read(session, parent_id))
    changes = _figures(parent, _read(session, parent_id))
    move(session, parent_id, JobEventType.CANCELLED, cancel_requested_at=db_now(), **changes)


def teacher_model(session: Session, teacher_job_id: str) -> str:
    """Id of the model that a comparison's teacher job made; it may have been deleted since."""
    made = select(Model.id).where(Model.job_id == teacher_job_id, Model.role == "student")
    return session.execute(made).scalar_one()


def taught_by(spec: dict[str, Any], model_id: str) -> dict[str, Any]:
    """The spec of an arm with its teacher given instead of trained."""
    return {**spec, "teacher": {**spec["teacher"], "model": model_id, "train": None}}


def ready_members(session: Session, parent_id: str) -> Sequence[str]:
    """Ids of a parent and its children of those that a worker may take now."""
    members = (Job.id == parent_id) | (Job.parent_id == parent_id)
    in_line = select(Job.id).where(members, Job.state == JobState.QUEUED, Job.waits_for.is_(None))
    return session.scalars(in_line.where(Job.available_at <= db_now())).all()


def _read(session: Session, parent_id: str) -> Sequence[Row[Any]]:
    return session.execute(_READ_CHILDREN, {"parent_id": parent_id}).all()


def _is_fatal(child: Row[Any]) -> bool:
    return child.name in INDISPENSABLE and child.state in (JobState.FAILED, JobState.CANCELLED)


def _was_cancelled(child: Row[Any]) -> bool:
    return bool(child.state == JobState.CANCELLED)


def _is_under_way(child: Row[Any]) -> bool:
    return child.state == JobState.RUNNING or (child.state == JobState.QUEUED and child.waits_for is None)


def _cancel_all(session: Session, children: Sequence[Row[Any]]) -> bool:
    """Cancels those that have not ended; returns whether any state has changed."""
    has_changed = False
    for child in children:
        if child.state == JobState.QUEUED:
            job = move(session, child.id, JobEventType.CANCELLED, cancel_requested_at=db_now())
            assert job.parent_id is not None
            _record_end(session, job.parent_id, job)
            has_changed = True
        elif child.state == JobState.RUNNING and child.cancel_requested_at is None:
            wish_cancellation(session, child.id)
    return has_changed


def _record_end(session: Session, parent_id: str, child: Job) -> None:
    data = {"child": child.id, "name": child.name, "state": child.state}
    record_event(session, parent_id, 0, "job.child_ended", data)


def _figures(parent: Row[Any], children: Sequence[Row[Any]]) -> dict[str, Any]:
    """Columns of a parent that tell how its children are."""
    summary = summarise((child.state for child in children), parent.children["adopted"])
    num_ended = sum(child.state in TERMINAL for child in children)
    num_adopted = len(summary["adopted"])
    progress = {
        "phase": PHASE,
        "step": num_ended + num_adopted,
        "total_steps": len(children) + num_adopted,
        "epoch": None,
        "eta_s": None,
    }
    return {"children": summary, "progress": progress}


def _write(session: Session, parent_id: str, changes: dict[str, Any]) -> None:
    statement = update(_JOBS).where(_JOBS.c.id == parent_id)
    session.execute(statement.values(version=_JOBS.c.version + 1, **changes))


def _begin_next_stage(session: Session, children: Sequence[Row[Any]]) -> None:
    """Lets the children of the next stage be taken; a teacher that was trained before it is now given."""
    stage = min(child.waits_for for child in children if child.waits_for is not None)
    teacher = next((child for child in children if child.name == TEACHER), None)
    model_id = None if teacher is None else teacher_model(session, teacher.id)
    for child in children:
        if child.waits_for != stage:
            continue
        changes: dict[str, Any] = {"waits_for": None, "version": _JOBS.c.version + 1}
        if model_id is not None:
            spec = session.execute(select(_JOBS.c.spec).where(_JOBS.c.id == child.id)).scalar_one()
            changes["spec"] = taught_by(spec, model_id)
            give(session, {child.id: {TEACHER: model_id}})
        session.execute(update(_JOBS).where(_JOBS.c.id == child.id).values(**changes))


def _error(child: Row[Any]) -> dict[str, Any]:
    """`Job.error` of a parent for want of this child, which has failed."""
    return {
        "code": CHILD_FAILED,
        "message": f"Its job {child.name} ({child.id}) failed: {child.error['message']}",
        "phase": PHASE,
        "retryable": bool(child.error["retryable"]),
    }
