"""What a job reports that chose its method itself."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from fdkd_core.spec.figures import Estimate, FinalRun, SplitMetrics
from fdkd_core.spec.measures import SelectBy
from fdkd_core.spec.strict import StrictModel


class AutoRung(StrictModel):
    """One training of a configuration in a search that halves."""

    epochs: int
    val: SplitMetrics | None
    """Null when training diverged."""
    seconds: float


class AutoConfiguration(StrictModel):
    """What a search tried."""

    number: int
    """From 0, in the order in which they were tried."""
    label: str
    """`no_teacher`, or the method's name; `NAME#2` for the second of a name."""
    method: dict[str, Any]
    """With every default filled in."""
    lr: float
    parameters: dict[str, float | str]
    """What the search varied of the method."""
    rungs: list[AutoRung]
    """Its trainings, each longer than the one before; only the better half came to the next, a method as
    stated in the place of its best where that was ahead by no more than noise (`choose`)."""


class AutoFinalist(StrictModel):
    """A configuration that was trained in full, with fresh seeds."""

    number: int
    """Of the configuration."""
    label: str
    runs: list[FinalRun]
    """Empty when one of them diverged."""
    val: float | None
    """Mean over the runs of the validation figure that decides; of errors, the loss too, the negative."""
    val_difference: float | None
    """To the control's finalist, by which it was decided: paired by seed, or by fold where there are folds;
    null for that itself."""
    val_standard_error: float | None
    """Of `val_difference`, over seeds and over validation rows, or over folds."""
    folds: list[float] = Field(default_factory=list)
    """Figure that decides of each fold, of a training without it; of errors the negative."""
    test: Estimate | None
    """Accuracy over the runs. It decided nothing."""
    test_difference: Estimate | None
    """To the control's finalist, paired by seed."""


class AutoBudget(StrictModel):
    """What the `minutes` of a search allowed, and what it took."""

    allowed: float
    """Seconds: `minutes`."""
    used: float
    """Seconds of all trainings of students. Neither those of a teacher nor the export are among them."""
    least: float | None
    """Seconds that the least a search does was expected to take, where the minutes were not enough for it;
    null where they were."""
    rounds: int
    """Configurations of each method, and of the control, in the first rung."""
    finalists: int
    """For which there was time, beside the control's."""
    seeds: int
    """Of each finalist."""
    folds: int
    """By which finalists were judged; 0 for the validation split."""
    told: str
    """In a sentence, what was left out, or that the minutes were not enough; empty where all was done in
    time. Part of the report's `reason`."""


class AutoReport(StrictModel):
    """What `method: auto` tried, and why this student was handed over."""

    select_by: SelectBy
    configurations: list[AutoConfiguration]
    finalists: list[AutoFinalist]
    """The control first."""
    winner: int
    """Number of the configuration whose student was handed over."""
    winner_label: str
    """`no_teacher` when no method was better than the tuned control beyond noise."""
    reason: str
    """Why, in a sentence or two."""
    cut_short: bool
    """Whether fewer configurations were tried than `trials` allows, for the sake of `minutes`."""
    budget: AutoBudget | None = None
    """Null where `trials` alone counted, and of an earlier release."""
