"""What cannot be done with a teacher that is no network of ours: an ONNX file, or columns of outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fdkd_core.errors import Problem
from fdkd_core.spec.compare import CompareSpec
from fdkd_core.spec.diagnose import DiagnoseSpec
from fdkd_core.spec.job import DistillSpec, TeachingSpec, teacher_pointer
from fdkd_core.spec.methods import AutoSpec, DistillingSpec, MethodSpec, NoneSpec
from fdkd_core.spec.study import StudySpec
from fdkd_core.spec.tasks import facts_of

Report = Mapping[str, Any]


def frozen_problems(
    spec: TeachingSpec, reports: Sequence[Report | None], dims: Sequence[int | None]
) -> list[Problem]:
    """Refuses to train such a teacher further, to build it anew without its weights, to miss its features.

    Args:
        spec: The job.
        reports: On the given models, one for each teacher.
        dims: D of each teacher's feature: 0 where it gives none, null where that is not known.
    """
    kinds = [
        "recorded outputs" if teacher.outputs_from else "an ONNX file"
        for teacher, report in zip(spec.teachers, reports, strict=True)
        if teacher.outputs_from or (report is not None and is_onnx(report))
    ]
    if not kinds:
        return []
    what = kinds[0]
    problems = []
    for pointer, method in method_pointers(spec):
        if isinstance(method, DistillingSpec) and method.needs_teacher_inputs:
            detail = f"{method.name} trains the teacher, which {what} cannot be"
            problems.append(Problem("incompatible", detail, pointer))
    views: dict[str, tuple[str, ...]] = {}
    if isinstance(spec, StudySpec):
        views["/teacher_view"] = (spec.teacher_view,)
    elif isinstance(spec, CompareSpec):
        views["/fake_teachers"] = spec.fake_teachers
    for pointer, names in views.items():
        if "untrained_teacher" in names:
            detail = f"there is no untrained twin of {what}; leave untrained_teacher out"
            problems.append(Problem("incompatible", detail, pointer))
        if "permuted_channels" in names and 0 in dims:
            detail = "this teacher gives no features whose channels could be permuted"
            problems.append(Problem("incompatible", detail, pointer))
    return problems + _refused_by_task(spec) + _refused_by_kind(spec, dims)


def _refused_by_task(spec: TeachingSpec) -> list[Problem]:
    """Recorded outputs are not what every task is taught by."""
    reason = facts_of(spec.task).no_recorded
    if reason is None:
        return []
    detail = f"recorded outputs are not read for {spec.task.kind}, because {reason}"
    return [
        Problem("incompatible", detail, f"{teacher_pointer(index)}/outputs_from")
        for index, teacher in enumerate(spec.teachers)
        if teacher.outputs_from is not None
    ]


def _refused_by_kind(spec: TeachingSpec, dims: Sequence[int | None]) -> list[Problem]:
    """What a diagnosis, or a weighting of several teachers, needs of them."""
    if isinstance(spec, DiagnoseSpec) and spec.teacher.outputs_from is not None:
        detail = "a diagnosis runs the teacher on a sample, and of recorded outputs there is nothing to run"
        return [Problem("incompatible", detail, "/teacher/outputs_from")]
    if isinstance(spec, DiagnoseSpec) and 0 in dims:
        detail = "a diagnosis looks at the teacher's features, and this teacher gives logits alone"
        return [Problem("incompatible", detail, "/teacher/model")]
    if not isinstance(spec, DistillSpec) or len(spec.teachers) < 2 or spec.teacher_weighting != "confidence":
        return []
    detail = "confidence is told from logits, and there is no column of them"
    return [
        Problem("incompatible", detail, f"{teacher_pointer(index)}/outputs_from")
        for index, teacher in enumerate(spec.teachers)
        if teacher.outputs_from is not None and teacher.outputs_from.logits is None
    ]


def method_pointers(spec: TeachingSpec) -> list[tuple[str, MethodSpec]]:
    """The methods of a job, each with its place in the spec."""
    if isinstance(spec, CompareSpec):
        return [(f"/methods/{index}", method) for index, method in enumerate(spec.methods)]
    if isinstance(spec, DistillSpec) and isinstance(spec.method, AutoSpec):
        return [(f"/method/methods/{index}", method) for index, method in enumerate(spec.method.methods)]
    return [("/method", method) for method in spec.methods_used]


def method_list_problems(spec: TeachingSpec) -> list[Problem]:
    """What is wrong with a list of methods as a list.

    One stands in it twice, which would be the same trainings again, with the same seeds; or a comparison has
    `none` alone, so that the control has nothing to be compared with.
    """
    first: dict[str, str] = {}
    problems = []
    if isinstance(spec, CompareSpec) and all(isinstance(method, NoneSpec) for method in spec.methods):
        detail = "has no method but `none`, the control, which is trained anyway: name one to compare it with"
        problems.append(Problem("not_allowed", detail, "/methods"))
    for pointer, method in method_pointers(spec):
        there = first.setdefault(method.model_dump_json(), pointer)
        if there != pointer:
            detail = f"is the method of {there} once more, field by field, and would repeat its trainings"
            problems.append(Problem("not_allowed", detail, pointer))
    return problems


def is_onnx(model: Report) -> bool:
    """Whether a report is on an ONNX file."""
    return model.get("format") == "onnx"
