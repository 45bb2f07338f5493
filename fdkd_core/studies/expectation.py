"""What another training like those of a study will come to, on other rows of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

from fdkd_core.spec.figures import figure
from fdkd_core.spec.measures import MetricName
from fdkd_core.spec.result import Estimate, FinalRun
from fdkd_core.spec.row_blocks import SEEDS, RowBlocks
from fdkd_core.studies.row_blocks import spread_of_rows
from fdkd_core.studies.statistics import over_all, over_seeds


def expected_test(
    runs: Sequence[FinalRun], metric: MetricName, rows: RowBlocks | None
) -> tuple[Estimate, str]:
    """A figure of the test split, over the final runs.

    Args:
        runs: At least one.
        metric: Which figure.
        rows: What the test rows add to it; None where that is not known.

    Returns:
        The mean with its 95 % interval, which with one run has no width, and what the interval is over.
    """
    values = [figure(run.test, metric) for run in runs]
    mean = sum(values) / len(values)
    if len(values) < 2:
        return over_all(mean, []), SEEDS
    spread = spread_of_rows(rows)
    if rows is None or spread is None:
        return over_all(mean, [over_seeds(values)]), SEEDS
    return over_all(mean, [over_seeds(values), spread]), rows.words
