"""A comparison as the API makes it, and workers that only move its jobs: no trainer, no time."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

from job_records import add_model
from sqlalchemy import select

from service.db import Database
from service.jobs import transitions
from service.jobs.states import TERMINAL, JobEventType, JobState
from service.tables import Job, JobEvent

COMPARE: dict[str, Any] = {
    "kind": "compare",
    "name": "which one",
    "dataset": "pairs",
    "task": {"kind": "classification"},
    "teacher": {"modality": "image"},
    "student": {"modality": "audio"},
    "methods": [{"name": "logit_kd"}, {"name": "fd_cmkd"}],
    "fake_teachers": ["shuffled_pairs"],
}
ARMS = ["no_teacher", "logit_kd", "fd_cmkd", "fd_cmkd shuffled_pairs"]
ERROR = {"code": "diverged", "message": "the loss became nan", "phase": "student", "retryable": False}


def compare(**changes: Any) -> dict[str, Any]:
    """The spec of a comparison with a teacher and four arms; keyword arguments replace top-level fields."""
    return {**copy.deepcopy(COMPARE), **changes}


def given_teacher(database: Database) -> dict[str, Any]:
    """The teacher of a comparison that need not train one."""
    return {"modality": "image", "model": add_model(database, name="given")}


def read(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)


def children(database: Database, parent_id: str) -> dict[str, Job]:
    """By name, in the order of the spec."""
    with database.read() as session:
        rows = session.scalars(select(Job).where(Job.parent_id == parent_id).order_by(Job.id))
        return {row.name: row for row in rows}


def states(database: Database, parent_id: str) -> dict[str, str]:
    """Of the parent, under "", and of each child."""
    found = {name: str(child.state) for name, child in children(database, parent_id).items()}
    return {"": str(read(database, parent_id).state), **found}


def history(database: Database, job_id: str) -> list[str]:
    with database.read() as session:
        return list(
            session.scalars(select(JobEvent.type).where(JobEvent.job_id == job_id).order_by(JobEvent.id))
        )


def claim(database: Database, job_id: str | None = None) -> Job | None:
    with database.write() as session:
        return transitions.claim(session, "wrk_a", 60, job_id)


def take(database: Database, name: str | None = None) -> Job:
    """Claims the next job, which must be there, and be of this name."""
    job = claim(database)
    assert job is not None
    assert name in (None, job.name), job.name
    return job


def succeed(database: Database, job: Job) -> None:
    """As `worker.publishing` does it: what the job made is there before its end is known."""
    with database.write() as session:
        transitions.lock_held(session, job.id, job.attempt)
    if job.kind != "compare":
        add_model(database, name=f"{job.name} student {job.id}", source="job", role="student", job_id=job.id)
    with database.write() as session:
        transitions.apply(
            session, job.id, JobEventType.SUCCEEDED, attempt=job.attempt, result={"n": job.name}
        )


def fail(database: Database, job: Job, **error: Any) -> None:
    with database.write() as session:
        event = JobEventType.FAILED
        transitions.apply(session, job.id, event, attempt=job.attempt, error={**ERROR, **error})


def stop(database: Database, job: Job) -> None:
    """A running job ends because it was asked to."""
    with database.write() as session:
        assert transitions.renew(session, job.id, job.attempt, 60) is True
        transitions.apply(session, job.id, JobEventType.STOPPED, attempt=job.attempt)


def require_sound(database: Database, parent_id: str) -> None:
    """Checks what holds between a parent and its children at any moment."""
    parent, own = read(database, parent_id), list(children(database, parent_id).values())
    assert parent.children is not None
    counts = Counter(str(child.state) for child in own)
    assert {name: parent.children[name] for name in map(str, JobState)} == {
        name: counts[name] for name in map(str, JobState)
    }
    have_ended = all(child.state in TERMINAL for child in own)
    is_waiting = parent.state not in TERMINAL and parent.waits_for is not None
    assert have_ended != is_waiting, states(database, parent_id)
    if is_waiting:
        assert (parent.worker_id, parent.lease_expires_at, parent.attempt) == (None, None, 0)
        ready = [child for child in own if child.state == JobState.QUEUED and child.waits_for is None]
        assert ready or parent.children["running"], "nobody would ever go on"
        has_begun = any(child.attempt for child in own)
        assert parent.state == (JobState.RUNNING if has_begun else JobState.QUEUED)
    told = history(database, parent_id)
    assert told.count("job.child_ended") == sum(child.state in TERMINAL for child in own)
    for once in ("job.children_started", "job.children_ended", "job.children_stopped", "job.child_failed"):
        assert told.count(once) <= 1
