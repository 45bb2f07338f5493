"""By how much one arm of a comparison is better than another, over seeds and over test rows."""

from __future__ import annotations

import statistics as means
from collections.abc import Sequence
from dataclasses import dataclass

from fdkd_core.spec.figures import signed_figure
from fdkd_core.spec.result import Estimate, FinalRun, StudyResult
from fdkd_core.studies.row_blocks import spread_of_difference
from fdkd_core.studies.statistics import Spread, Verdict, estimate, over_all, over_seeds, p_value, verdict


@dataclass(frozen=True)
class Gain:
    """Of an arm over another with the same seeds, on the same test rows; positive is better, always."""

    difference: Estimate
    """Its interval is over seeds, and over test rows where their spread is known; with one seed it has no
    width."""
    over_seeds: Estimate
    """The same, over seeds alone."""
    row_error: float | None
    """Standard error over test rows; None where it is not known, or there is one seed."""
    p_value: float | None
    verdict: Verdict


def gain_over(study: StudyResult, other: StudyResult, metric: str) -> Gain | None:
    """What two studies tell of each other; None where they share no seed."""
    differences = paired_differences(study.runs, other.runs, metric)
    if not differences:
        return None
    alone = estimate(differences)
    if len(differences) < 2:
        return Gain(alone, alone, None, None, verdict(alone))
    rows = spread_of_difference(study.test_rows, other.test_rows)
    spreads: list[Spread] = [over_seeds(differences), *([] if rows is None else [rows])]
    error = None if rows is None else rows.error
    mean = means.fmean(differences)
    if alone.low == alone.high:
        # Seeds that agree on figures which come in steps of one row are luck, whatever the rows say.
        return Gain(over_all(mean, spreads), alone, error, p_value(mean, spreads[:1]), "no evidence")
    found = over_all(mean, spreads)
    return Gain(found, alone, error, p_value(mean, spreads), verdict(found))


def paired_differences(runs: Sequence[FinalRun], others: Sequence[FinalRun], metric: str) -> list[float]:
    """By how much each run is better on the test split than the other's run with the same seed."""
    by_seed = {run.seed: signed_figure(run.test, metric) for run in others}
    return [signed_figure(run.test, metric) - by_seed[run.seed] for run in runs if run.seed in by_seed]
