"""The existing models that a spec names, by what the job is to do with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fdkd_core.errors import Problem
from fdkd_core.spec.job import (
    DistillSpec,
    TeacherSpec,
    TeachingSpec,
    TrainSpec,
    teacher_name,
    teacher_pointer,
)
from fdkd_core.spec.kinds import AnyJobSpec
from fdkd_core.spec.methods import AutoSpec

START = "start"
"""Role of the model whose weights the student begins with; teachers' roles are their names."""
START_POINTER = "/student/start"


@dataclass(frozen=True)
class NamedModel:
    """A model as a spec speaks of it."""

    reference: str
    pointer: str
    """Where it is named."""


def named_models(spec: AnyJobSpec) -> dict[str, NamedModel]:
    """What a spec names, by role: `teacher`, `teacher2`, ... (`job.teacher_name`), and `START`."""
    found = {
        teacher_name(index): NamedModel(teacher.model, f"{teacher_pointer(index)}/model")
        for index, teacher in enumerate(spec.teachers if isinstance(spec, TeachingSpec) else ())
        if teacher.model is not None
    }
    if spec.student.start is not None:
        found[START] = NamedModel(spec.student.start, START_POINTER)
    return found


def start_problems(spec: AnyJobSpec) -> list[Problem]:
    """A problem `not_supported` where a job that trains more students than one is to begin with weights."""
    is_searched = isinstance(spec, DistillSpec) and isinstance(spec.method, AutoSpec)
    if spec.student.start is None or (isinstance(spec, TrainSpec | DistillSpec) and not is_searched):
        return []
    detail = "only jobs that train one student by a method that they name can begin with given weights"
    return [Problem("not_supported", detail, START_POINTER)]


def with_start(spec: AnyJobSpec, reference: str) -> AnyJobSpec:
    """The spec with another name for what its student begins with."""
    student = spec.student.model_copy(update={"start": reference})
    return spec.model_copy(update={"student": student})


def with_teachers(spec: AnyJobSpec, teachers: Mapping[str, TeacherSpec]) -> AnyJobSpec:
    """The spec with some of its teachers exchanged, by name."""
    if not isinstance(spec, TeachingSpec) or not teachers:
        return spec
    first, *others = [
        teachers.get(teacher_name(index), teacher) for index, teacher in enumerate(spec.teachers)
    ]
    changes: dict[str, object] = {"teacher": first}
    if others:
        changes["more_teachers"] = tuple(others)
    return spec.model_copy(update=changes)
