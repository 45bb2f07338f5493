"""The trainings of a job with `method: {name: auto}`, by which its progress is counted."""

from __future__ import annotations

from typing import Any

from fdkd_core.data.table import PairedDataset
from fdkd_core.spec import AnyJobSpec, AutoSpec, DistillSpec
from fdkd_core.spec.trainings import half, rung_epochs
from fdkd_core.studies.fold_scores import Folds
from fdkd_core.studies.study import phase_steps, student_steps, teacher_plan


def plan_auto(spec: AnyJobSpec, data: PairedDataset, *, is_teacher_given: bool) -> list[dict[str, Any]]:
    """Name and number of steps of each training, if none is left out."""
    assert isinstance(spec, DistillSpec)
    planned = search_plan(spec, data)
    return planned if is_teacher_given else [teacher_plan(spec, data), *planned]


def search_plan(spec: DistillSpec, data: PairedDataset) -> list[dict[str, Any]]:
    """The trainings of students in their order."""
    assert isinstance(spec.method, AutoSpec)
    controls = max(1, spec.method.trials // (1 + len(spec.method.methods)))
    methods = controls * len(spec.method.methods)
    planned = []
    for rung, epochs in enumerate(rung_epochs(spec.training)):
        training = spec.training.model_copy(update={"epochs": epochs})
        steps = phase_steps(training, len(data.taught_rows))
        planned += [
            {"name": rung_name(rung, place), "total_steps": steps} for place in range(controls + methods)
        ]
        controls, methods = half(controls), half(methods)
    folds = Folds(data, spec.method.folds, spec.training)
    folds.check()
    for place in range(1 + spec.method.finalists):
        planned += [
            {"name": final_name(place, number), "total_steps": student_steps(spec, data)}
            for number in range(1, spec.method.seeds + 1)
        ]
        planned += folds.plan(place, spec.training)
    return planned


def rung_name(rung: int, place: int) -> str:
    """Phase of a short training."""
    return f"rung{rung}-{place}"


def final_name(place: int, number: int) -> str:
    """Phase of a finalist's run."""
    return f"final{place}-{number}"
