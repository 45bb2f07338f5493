"""Whether a method earned its place: the last step of a search, and the promise that goes with it.

The student that is handed over is never worse than the tuned control beyond noise. The best of many short
trainings is partly lucky: in its seed, and with the very rows of the validation split. So finalists are
trained anew with fresh seeds, against the control's best with the same ones, and the difference has to exceed
its standard error, over seeds and over rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdkd_core.row_noise import row_noise
from fdkd_core.spec.measures import MEASURES
from fdkd_core.studies import statistics

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Scores:
    """How a finalist did on validation."""

    label: str
    values: list[float]
    """Figure of each seed, larger is better; empty when a run diverged."""
    shares: list[NDArray[np.float64]]
    """Of each seed, what every validation row adds to the figure, [rows]. Empty where each value is
    of other rows, a fold's, so that their spread tells what both rows and seeds do."""
    folds: str | None = None
    """In words, what the values are of; None where they are of seeds."""
    groups: NDArray[np.int64] | None = None
    """Group of each validation row, such as its speaker; None where rows are independent."""

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.values))


@dataclass(frozen=True)
class Difference:
    """A finalist minus the control's."""

    mean: float
    standard_error: float

    @property
    def is_beyond_noise(self) -> bool:
        """Whether it is more than one standard error above nothing."""
        return self.exceeds(1.0)

    def exceeds(self, errors: float) -> bool:
        """Whether it is more than so many standard errors above nothing.

        A standard error of 0 is none: folds, seeds or rows that all agree, which is luck among few rows. Nor
        is a row more among those of one split, which is ahead by one error up to rounding.
        """
        return self.mean > errors * self.standard_error * (1.0 + _ROUNDING) > 0.0


def difference(found: Scores, control: Scores) -> Difference:
    """By how much a finalist is better than the control's, seed by seed and row by row.

    The error over seeds tells how far other seeds would move the mean; that over rows, how far another
    validation split would, by group where rows have groups. They are added in squares, which errs on the side
    of the control: what seeds do to single rows is in both.
    """
    gains = np.subtract(found.values, control.values)
    over_seeds = statistics.standard_error(gains.tolist())
    if not found.shares:
        return Difference(float(gains.mean()), over_seeds)
    rows_N = np.mean(found.shares, axis=0) - np.mean(control.shares, axis=0)
    over_rows = row_noise(rows_N, control.groups).standard_error
    if over_rows == 0.0:
        # Of a single row, or of a few that agree, nobody knows how others would differ; seeds do not tell.
        return Difference(float(gains.mean()), 0.0)
    return Difference(float(gains.mean()), math.hypot(over_seeds, over_rows))


def decide(scores: Sequence[Scores], select_by: str, *, is_teacher_behind: bool = False) -> tuple[int, str]:
    """Which finalist is handed over, and why.

    Args:
        scores: The control's first.
        select_by: Name of the figure.
        is_teacher_behind: Whether the teacher does worse on validation than the control, so that little
            speaks for it beforehand: then a method has to be ahead by two standard errors
            (docs/decisions/0039).

    Returns:
        Its index: 0 unless a method is better than the control beyond noise. Of several that are, the one
        with the best mean.
    """
    control, others = scores[0], scores[1:]
    gained = {
        index: difference(found, control) for index, found in enumerate(others, start=1) if found.values
    }
    if not gained:
        return 0, "No method came through its final runs, so the student is that of the tuned control."
    errors = 2.0 if is_teacher_behind else 1.0
    earned = [index for index, found in gained.items() if found.exceeds(errors)]
    best = max(earned or gained, key=lambda index: scores[index].mean)
    label, told = scores[best].label, _told(gained[best], select_by, control)
    if earned:
        return best, f"{label} is ahead of the tuned control by {told}."
    noise = "the noise"
    if is_teacher_behind:
        noise = "twice the noise, as is asked where the teacher does worse on validation than the control"
    return 0, (
        f"No method is ahead of the tuned control by more than {noise}, so the student is the control's, "
        f"trained without a teacher. The best, {label}, is at {told}."
    )


def _told(found: Difference, select_by: str, control: Scores) -> str:
    over = control.folds or f"{len(control.values)} fresh seeds"
    return f"{in_words(found, select_by, on_validation=bool(control.shares))} over {over}"


def in_words(found: Difference, select_by: str, *, on_validation: bool = True) -> str:
    """A difference with its figure and error: `+2.0 points of validation accuracy (standard error 0.7)`."""
    measure = MEASURES[select_by]
    joint = "of" if measure.form == "share" else "in"
    where = "validation " if on_validation else ""
    amount = f"{measure.gain(found.mean)} {joint} {where}{measure.words}{measure.turned}"
    if found.standard_error == 0.0 and found.mean != 0.0:
        return f"{amount} (of unknown noise: all that was measured says the same)"
    return f"{amount} (standard error {measure.scale * found.standard_error:.2g})"
