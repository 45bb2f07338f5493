"""How well the classes can be told from each modality, and whether the teacher is ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fdkd_core.diagnosis.logistic import LogisticProbe
from fdkd_core.diagnosis.products import Matrix
from fdkd_core.spec.findings import HeadroomFindings, Part, ProbeFindings
from fdkd_core.tasks.classification import macro_f1

EXPECTED_SHARE = 0.1
"""Of the gap between teacher and student, what a good method closes: the best method of each direction of the
accuracy benchmark closed 3 to 15 % against a tuned control (benchmarks/accuracy/results/earlier/table.md)."""
DETECTABLE_ERRORS = 2.8
"""Standard errors that a gain must be worth to be seen in four of five cases by a two-sided test at 5 %."""
_BOOTSTRAPS = 300

Metric = Literal["accuracy", "macro_f1"]
View = Literal["inputs", "features", "network"]


@dataclass(frozen=True)
class Answers:
    """What one view of one modality says of the validation rows."""

    part: Part
    view: View
    predicted: NDArray[np.int64]


def probe(
    part: Part,
    view: View,
    fitted_NP: Matrix,
    labels_N: NDArray[np.int64],
    validated_MP: Matrix,
    num_classes: int,
    rng: np.random.Generator,
    *,
    metric: Metric,
) -> Answers:
    """Fits a linear probe on some rows, with weights that suit the metric, and asks it about others."""
    fitted = LogisticProbe(fitted_NP, labels_N, num_classes, rng, is_balanced=metric == "macro_f1")
    return Answers(part, view, fitted.scores(validated_MP).argmax(axis=1))


def compare_modalities(
    answers: list[Answers],
    labels_M: NDArray[np.int64],
    fitted_labels_N: NDArray[np.int64],
    *,
    metric: Metric,
    has_teacher: bool,
    test_rows: int,
    rng: np.random.Generator,
) -> HeadroomFindings:
    """Holds the teacher against the best that the student's modality reached.

    Args:
        answers: Of every view; with `has_teacher` one of them is the teacher's `network`.
        labels_M: Of the validation rows.
        fitted_labels_N: Of the rows that were learned from, for chance.
        metric: What to compare by.
        has_teacher: Whether the teacher's own answers count: not when it is an untrained network.
        test_rows: How many rows the job will be tested on.
        rng: Of the bootstrap.
    """
    score = _SCORES[metric]
    teachers = [found for found in answers if found.part == "teacher"]
    if has_teacher:
        teachers = [found for found in teachers if found.view == "network"]
    # The first wins a tie: the simplest view.
    teacher = max(teachers, key=lambda found: score(found.predicted, labels_M))
    student = max(
        (found for found in answers if found.part == "student"),
        key=lambda found: score(found.predicted, labels_M),
    )
    levels = [score(found.predicted, labels_M) for found in (teacher, student)]
    gaps = []
    for _ in range(_BOOTSTRAPS):
        rows = rng.integers(0, len(labels_M), len(labels_M))
        drawn = labels_M[rows]
        gaps.append(score(teacher.predicted[rows], drawn) - score(student.predicted[rows], drawn))
    frequent = np.full(len(labels_M), np.bincount(fitted_labels_N).argmax())
    gap = levels[0] - levels[1]
    accuracy = float((student.predicted == labels_M).mean())
    return HeadroomFindings(
        metric=metric,
        chance=score(frequent, labels_M),
        probes=[
            ProbeFindings(
                part=found.part,
                view=found.view,
                accuracy=_accuracy(found.predicted, labels_M),
                macro_f1=macro_f1(found.predicted, labels_M),
            )
            for found in answers
        ],
        teacher=levels[0],
        student=levels[1],
        gap=gap,
        standard_error=float(np.std(gaps)),
        test_rows=test_rows,
        expected_gain=EXPECTED_SHARE * max(gap, 0.0),
        detectable_gain=detectable_gain(accuracy, test_rows),
    )


def detectable_gain(accuracy: float, test_rows: int) -> float:
    """Smallest difference in accuracy between two trainings that a test split of this size shows.

    Two trainings of one student are taken to disagree on whether they are right as often as two coins of
    correlation one half: in a share a (1 - a) of the rows.

    Args:
        accuracy: Of the student, a, in 0..1.
        test_rows: Size of the test split.
    """
    disagreement = max(accuracy * (1.0 - accuracy), 1.0 / max(test_rows, 1))
    return float(DETECTABLE_ERRORS * np.sqrt(disagreement / max(test_rows, 1)))


def _accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    return float((predicted == labels).mean())


_SCORES = {"accuracy": _accuracy, "macro_f1": macro_f1}
