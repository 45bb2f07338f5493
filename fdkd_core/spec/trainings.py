"""How many trainings a job asks for, counted from its spec alone."""

from __future__ import annotations

import math

from fdkd_core.spec.compare import CompareSpec, arms
from fdkd_core.spec.diagnose import DiagnoseSpec
from fdkd_core.spec.job import DistillSpec, TeachingSpec
from fdkd_core.spec.kinds import AnyJobSpec
from fdkd_core.spec.methods import AutoSpec, NoneSpec
from fdkd_core.spec.study import StudySpec
from fdkd_core.spec.training import TrainingSpec

RUNG_SHARES = (4, 2)
"""Each rung of a search trains for the spec's epochs divided by these; the finalists for all of them."""
USUAL_FOLDS = 5
"""As many as `folds: auto` makes where validation has few groups."""


def student_trainings(spec: AnyJobSpec) -> int:
    """Most trainings of a student that the job takes, in full ones, its control's among them.

    The short ones of a search count by their epochs, rounded up in all, and `folds: auto` as if it would
    come to folds, which the data decide. A diagnosis has no training in full: 0.
    """
    if isinstance(spec, CompareSpec):
        return len(arms(spec, None)) * (spec.tuning.trials + spec.seeds)
    if isinstance(spec, StudySpec):
        return spec.tuning.trials + spec.seeds
    if isinstance(spec, DistillSpec):
        if isinstance(spec.method, AutoSpec):
            return _of_search(spec.method, spec.training)
        return 2 if spec.controls.no_teacher and not isinstance(spec.method, NoneSpec) else 1
    return 0 if isinstance(spec, DiagnoseSpec) else 1


def teacher_trainings(spec: AnyJobSpec) -> int:
    """Teachers that the job trains before its students."""
    if isinstance(spec, DiagnoseSpec) or not isinstance(spec, TeachingSpec):
        return 0
    teachers = spec.teachers if isinstance(spec, DistillSpec) else (spec.teacher,)
    return sum(teacher.is_trained for teacher in teachers)


def rung_epochs(training: TrainingSpec) -> list[int]:
    """Epochs of each rung of a search; fewer rungs where there are few epochs."""
    return sorted({max(1, training.epochs // share) for share in RUNG_SHARES})


def half(count: int) -> int:
    """Half of so many, rounded up: what comes to the next rung."""
    return (count + 1) // 2


def _of_search(method: AutoSpec, training: TrainingSpec) -> int:
    controls = max(1, method.trials // (1 + len(method.methods)))
    methods = controls * len(method.methods)
    epochs = 0
    for length in rung_epochs(training):
        epochs += length * (controls + methods)
        controls, methods = half(controls), half(methods)
    folds = USUAL_FOLDS if method.folds == "auto" else method.folds or 0
    return math.ceil(epochs / training.epochs) + (1 + method.finalists) * (method.seeds + folds)
