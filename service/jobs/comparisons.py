"""From the spec of a comparison to the rows of its children, the first time and when it is repeated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from fdkd_core.spec import AnyJobSpec, CompareSpec
from fdkd_core.spec.compare import arms, teacher_job
from service.identifiers import new_id
from service.jobs.families import TEACHER, taught_by, teacher_model
from service.jobs.given_models import Given, given_to
from service.jobs.gpus import needed_gpus
from service.jobs.states import JobState
from service.tables import Job

TEACHING, LEARNING = 1, 2
"""Stages: the teacher is trained, then every arm is; the comparison itself waits for the second."""


@dataclass(frozen=True)
class Child:
    """A job of a new comparison, before ids are given."""

    columns: dict[str, Any]
    """Those that are its own."""
    given: Given = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its label in the comparison."""
        return str(self.columns["name"])


@dataclass(frozen=True)
class Family:
    """What a new comparison consists of, before ids are given."""

    children: list[Child] = field(default_factory=list)
    """In the order in which they are to be taken."""
    adopted: dict[str, str] = field(default_factory=dict)
    """Succeeded jobs of the comparison that this one repeats, by name."""
    given: Given = field(default_factory=dict)
    """The model that all arms are taught by, where it is there already."""

    @property
    def waits_for(self) -> int | None:
        """Stage that the comparison itself waits for."""
        return LEARNING if self.children else None


def plan(spec: AnyJobSpec, given: Given) -> Family | None:
    """The family of a new job with these models; None when it is of a kind that has none."""
    if not isinstance(spec, CompareSpec):
        return None
    teacher = teacher_job(spec)
    children = [] if teacher is None else [_child(teacher, waits_for=None)]
    waits_for = None if teacher is None else TEACHING
    children += [_child(arm, waits_for=waits_for, given=given) for arm in arms(spec, None).values()]
    return Family(children, given=given)


def names(spec: AnyJobSpec) -> list[str]:
    """Names of the children that a new job would have."""
    family = plan(spec, {})
    return [] if family is None else [child.name for child in family.children]


def repeat(session: Session, old: Job) -> Family | None:
    """The family of a comparison that repeats another.

    What has succeeded there is adopted, and not trained again; the rest goes on from its last checkpoint.

    Args:
        session: Of `Database.write()`.
        old: The job to be repeated, which has ended.

    Returns:
        None when it has no children.
    """
    if old.children is None:
        return None
    rows = session.scalars(select(Job).where(Job.parent_id == old.id).order_by(Job.id)).all()
    succeeded = {child.name: child.id for child in rows if child.state == JobState.SUCCEEDED}
    adopted: dict[str, str] = {**old.children["adopted"], **succeeded}
    left = [child for child in rows if child.state != JobState.SUCCEEDED]
    trains_teacher = any(child.name == TEACHER for child in left)
    given: Given = given_to(session, old.id)
    is_trained = bool(left) and TEACHER in adopted
    if is_trained:
        given = {TEACHER: teacher_model(session, adopted[TEACHER])}
    children = []
    for child in left:
        is_arm = child.name != TEACHER
        columns = {
            "kind": child.kind,
            "name": child.name,
            "spec": taught_by(child.spec, given[TEACHER]) if is_arm and is_trained else child.spec,
            "waits_for": TEACHING if trains_teacher and is_arm else None,
            "retry_of": child.id,
            "work_key": child.work_key,
            "gpus": child.gpus,
        }
        children.append(Child(columns, given if is_arm else {}))
    return Family(children, adopted, given)


def has_failed_children(job: Job) -> bool:
    """Whether a comparison lacks some of its arms, so that it may be repeated although it has succeeded."""
    return job.children is not None and bool(job.children["failed"] or job.children["cancelled"])


def new_ids(number: int) -> list[str]:
    """Ids of a family: its children's in the order in which they are taken, and the parent's.

    The parent's is the newest, so that lists, which show the newest first, have the children below it.
    """
    return sorted(new_id("job") for _ in range(number + 1))


def _child(spec: AnyJobSpec, *, waits_for: int | None, given: Given | None = None) -> Child:
    return Child(
        {
            "kind": spec.kind,
            "name": spec.name,
            "spec": spec.model_dump(mode="json"),
            "waits_for": waits_for,
            "retry_of": None,
            "work_key": None,
            "gpus": needed_gpus(spec),
        },
        given or {},
    )
