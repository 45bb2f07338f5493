"""Are the pairs shifted? Given pairs against pairs a few rows apart, and against shuffled ones."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fdkd_core.diagnosis.products import Matrix
from fdkd_core.diagnosis.ridge import FoldedRidge
from fdkd_core.diagnosis.sample import Rows
from fdkd_core.diagnosis.shuffles import permutations, spread
from fdkd_core.spec.findings import AlignmentFindings, ShiftFit

MAX_SHIFT = 4
"""Rows: a header read as data, one lost sample, one dropped at each of a few joints."""
SHUFFLES = 50
MIN_GAIN = 0.02
"""Of R²: less is of no use to anybody, and neighbours of a time series are that alike."""
MIN_ERRORS = 4.0
"""Standard errors of the gain: of two dozen comparisons one comes to three by luck in one of thirty runs."""
MIN_NEIGHBOURS = 20
"""Rows with a neighbour at a distance, below which no shift by it is tried."""


def check_alignment(
    rows: Rows,
    labels_NQ: Matrix,
    strata_N: NDArray[np.int64] | None,
    teacher_NP: Matrix,
    student_NP: Matrix,
    rng: np.random.Generator,
) -> list[AlignmentFindings]:
    """Fits teacher from student, and the label from each, for the pairs as given, shifted and shuffled.

    Args:
        rows: Numbers of the rows in the file, ascending, with neighbours among them.
        labels_NQ: Their labels as numbers that can be predicted.
        strata_N: Which of them have like labels; None shuffles within nothing.
        teacher_NP: What is known of the teacher's samples, [N, P]; not learned from these rows.
        student_NP: The same of the student's samples.
        rng: Of folds and shuffles.
    """
    return [
        _scan("teacher_from_student", rows, student_NP, teacher_NP, strata_N, rng),
        _scan("label_from_teacher", rows, teacher_NP, labels_NQ, None, rng),
        _scan("label_from_student", rows, student_NP, labels_NQ, None, rng),
    ]


def _scan(
    what: Literal["teacher_from_student", "label_from_teacher", "label_from_student"],
    rows: Rows,
    predictors: Matrix,
    targets: Matrix,
    strata: NDArray[np.int64] | None,
    rng: np.random.Generator,
) -> AlignmentFindings:
    seeds = rng.integers(0, 2**63, 3)
    ridge = FoldedRidge(predictors, np.random.default_rng(seeds[0]))
    order = np.random.default_rng(seeds[1])
    shuffled = spread([ridge.r2(targets[p]) for p in permutations(len(rows), SHUFFLES, order)])
    within = None
    if strata is not None:  # which do not change a label
        within = spread(
            [ridge.r2(targets[p]) for p in permutations(len(rows), SHUFFLES, order, strata=strata)]
        )
    shifts = [
        fit
        for shift in (*range(-MAX_SHIFT, 0), *range(1, MAX_SHIFT + 1))
        if (fit := _fit_shift(shift, rows, predictors, targets, int(seeds[2]), shuffled.high)) is not None
    ]
    better = [fit for fit in shifts if fit.is_better]
    return AlignmentFindings(
        what=what,
        rows=len(rows),
        fit=ridge.r2(targets),
        shuffled=shuffled,
        shuffled_within_class=within,
        shifts=shifts,
        best_shift=max(better, key=lambda fit: fit.gain).shift if better else 0,
    )


def _fit_shift(
    shift: int, rows: Rows, predictors: Matrix, targets: Matrix, seed: int, null: float
) -> ShiftFit | None:
    """None where too few rows have a neighbour at this distance."""
    anchors = np.flatnonzero(np.isin(rows + shift, rows))
    if len(anchors) < MIN_NEIGHBOURS:
        return None
    moved = np.searchsorted(rows, rows[anchors] + shift)
    # The same rows and folds for both, so that only the partner differs.
    shifted_error, baseline = FoldedRidge(predictors[moved], np.random.default_rng(seed)).errors(
        targets[anchors]
    )
    given_error, _ = FoldedRidge(predictors[anchors], np.random.default_rng(seed)).errors(targets[anchors])
    unit = float(baseline.mean())
    if unit <= 0:
        return None
    gains = (given_error - shifted_error) / unit
    gain, error = float(gains.mean()), float(gains.std() / np.sqrt(len(gains)))
    fit = 1.0 - float(shifted_error.mean()) / unit
    return ShiftFit(
        shift=shift,
        rows=len(anchors),
        fit=fit,
        gain=gain,
        standard_error=error,
        is_better=gain > MIN_GAIN and gain > MIN_ERRORS * error and fit > null,
    )
