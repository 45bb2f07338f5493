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
from service.jobs.gpus import needed_gpus
from service.jobs.states import JobState
from service.tables import Job

TEACHING, LEARNING = 1, 2
"""Stages: the teacher is trained, then every arm is; the comparison itself waits for the second."""


@dataclass(frozen=True)
class Family:
    """What a new comparison consists of, before ids are given."""

    children: list[dict[str, Any]] = field(default_factory=list)
    """Columns of each child that are its own, in the order in which they are to be taken."""
    adopted: dict[str, str] = field(default_factory=dict)
    """Succeeded jobs of the comparison that this one repeats, by name."""
    teacher_model_id: str | None = None
    """The model that all arms are taught by, where it is there already."""

    @property
    def waits_for(self) -> int | None:
        """Stage that the comparison itself waits for."""
        return LEARNING if self.children else None


def plan(spec: AnyJobSpec, teacher_model_id: str | None) -> Family | None:
    """The family of a new job; None when it is of a kind that has none."""
    if not isinstance(spec, CompareSpec):
        return None
    teacher = teacher_job(spec)
    children = [] if teacher is None else [_child(teacher, waits_for=None)]
    waits_for = None if teacher is None else TEACHING
    children += [_child(arm, waits_for=waits_for) for arm in arms(spec, None).values()]
    for child in children:
        child["teacher_model_id"] = None if child["name"] == TEACHER else teacher_model_id
    return Family(children, teacher_model_id=teacher_model_id)


def names(spec: AnyJobSpec) -> list[str]:
    """Names of the children that a new job would have."""
    family = plan(spec, None)
    return [] if family is None else [child["name"] for child in family.children]


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
    model_id = old.teacher_model_id
    if left and TEACHER in adopted:
        model_id = teacher_model(session, adopted[TEACHER])
    children = []
    for child in left:
        is_arm = child.name != TEACHER
        spec = child.spec
        if is_arm and model_id is not None and model_id != old.teacher_model_id:
            spec = taught_by(spec, model_id)
        children.append(
            {
                "kind": child.kind,
                "name": child.name,
                "spec": spec,
                "teacher_model_id": model_id if is_arm else None,
                "waits_for": TEACHING if trains_teacher and is_arm else None,
                "retry_of": child.id,
                "work_key": child.work_key,
                "gpus": child.gpus,
            }
        )
    return Family(children, adopted, model_id)


def has_failed_children(job: Job) -> bool:
    """Whether a comparison lacks some of its arms, so that it may be repeated although it has succeeded."""
    return job.children is not None and bool(job.children["failed"] or job.children["cancelled"])


def new_ids(number: int) -> list[str]:
    """Ids of a family: its children's in the order in which they are taken, and the parent's.

    The parent's is the newest, so that lists, which show the newest first, have the children below it.
    """
    return sorted(new_id("job") for _ in range(number + 1))


def _child(spec: AnyJobSpec, *, waits_for: int | None) -> dict[str, Any]:
    return {
        "kind": spec.kind,
        "name": spec.name,
        "spec": spec.model_dump(mode="json"),
        "waits_for": waits_for,
        "retry_of": None,
        "work_key": None,
        "gpus": needed_gpus(spec),
    }
