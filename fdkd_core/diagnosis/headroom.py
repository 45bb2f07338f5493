"""How well the labels can be told from each modality, and whether the teacher is ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fdkd_core.row_noise import row_noise
from fdkd_core.spec.figures import figure
from fdkd_core.spec.findings import HeadroomFindings, Part, ProbeFindings
from fdkd_core.spec.measures import MEASURES, MetricName
from fdkd_core.tasks.base import Task

EXPECTED_SHARE = 0.1
"""Of the gap between teacher and student, what a good method closes: over twenty seeds the best of three
closed 0 to 15 % of it, by direction, against a tuned control (benchmarks/accuracy/results/more-seeds.md)."""
DETECTABLE_ERRORS = 2.8
"""Standard errors that a gain must be worth to be seen in four of five cases by a two-sided test at 5 %."""

View = Literal["inputs", "features", "network"]


@dataclass(frozen=True)
class Answers:
    """What one view of one modality says of the validation rows."""

    part: Part
    view: View
    outputs: NDArray[Any]
    """As the task keeps answers (`Task.answers`)."""


def compare_modalities(
    answers: list[Answers],
    task: Task,
    labels: NDArray[Any],
    *,
    metric: MetricName,
    chance: float,
    has_teacher: bool,
    test_rows: int,
    groups_N: NDArray[np.int64] | None = None,
) -> HeadroomFindings:
    """Holds the teacher against the best that the student's modality reached.

    The standard error of the gap is the infinitesimal jackknife's (`Task.shares`) and not a bootstrap's: rows
    that are drawn twice would find each other in a retrieval.

    Args:
        answers: Of every view; with `has_teacher` one of them is the teacher's `network`.
        task: What they are scored by.
        labels: Of the validation rows.
        metric: What to compare by.
        chance: Its value for who looks at no sample.
        has_teacher: Whether the teacher's own answers count: not when it is an untrained network.
        test_rows: How many rows the job will be tested on.
        groups_N: Group of each validation row; None where rows are independent.
    """
    signed = MEASURES[metric].signed
    figures = [_figures(task, found.outputs, labels) for found in answers]
    places: dict[Part, list[int]] = {
        part: [place for place, found in enumerate(answers) if found.part == part]
        for part in ("teacher", "student")
    }
    if has_teacher:
        places["teacher"] = [place for place in places["teacher"] if answers[place].view == "network"]
    # The first wins a tie: the simplest view.
    teacher, student = (
        max(places[part], key=lambda place: signed(figures[place][metric])) for part in ("teacher", "student")
    )
    shares = [task.shares(metric, answers[place].outputs, labels) for place in (teacher, student)]
    levels = [figures[place][metric] for place in (teacher, student)]
    gap = signed(levels[0]) - signed(levels[1])
    noise = row_noise(shares[0] - shares[1], groups_N)
    return HeadroomFindings(
        metric=metric,
        chance=chance,
        probes=[
            ProbeFindings(
                part=found.part,
                view=found.view,
                accuracy=known.get("accuracy"),
                macro_f1=known.get("macro_f1"),
                figures=known,
            )
            for found, known in zip(answers, figures, strict=True)
        ],
        teacher=levels[0],
        teacher_error=row_noise(shares[0], groups_N).standard_error,
        student=levels[1],
        gap=gap,
        standard_error=noise.standard_error,
        test_rows=test_rows,
        expected_gain=EXPECTED_SHARE * max(gap, 0.0),
        detectable_gain=detectable_gain(
            _deviation(task, metric, answers[student].outputs, labels, test_rows), test_rows
        ),
        groups=noise.groups,
        is_one_label=bool((labels == labels[0]).all()),
    )


def detectable_gain(deviation: float, test_rows: int) -> float:
    """Smallest difference between two trainings that a test split of this size shows.

    Two trainings of one student are taken to be right and wrong as alike as two coins of correlation one
    half: then the difference of what a row adds to their figures varies as much as what it adds to one of
    them. For accuracy a they disagree in a share a (1 - a) of the rows.

    Args:
        deviation: Of what a row adds to the student's figure, such as sqrt(a (1 - a)); in its unit.
        test_rows: Size of the test split.
    """
    return float(DETECTABLE_ERRORS * deviation / np.sqrt(max(test_rows, 1)))


def _deviation(
    task: Task, metric: MetricName, outputs: NDArray[Any], labels: NDArray[Any], test_rows: int
) -> float:
    """Of what a row adds to a figure; of one class a row to accuracy, whatever the figure."""
    if task.kind == "classification":
        metric = "accuracy"
    found = float(task.shares(metric, outputs, labels).std())
    # Where all rows are right, one more or less is what can be seen.
    return max(found, 1.0 / np.sqrt(max(test_rows, 1))) if MEASURES[metric].form == "share" else found


def _figures(task: Task, outputs: NDArray[Any], labels: NDArray[Any]) -> dict[MetricName, float]:
    found = task.metrics(outputs, labels)
    return {name: figure(found, name) for name in task.facts.metrics}
