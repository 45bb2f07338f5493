"""What a job with `method: auto` did to find its method, in words, for core and client."""

from __future__ import annotations

from fdkd_core.count_words import count
from fdkd_core.spec.measures import Measure


def tried_words(configurations: int, trainings: int, *, cut_short: bool) -> str:
    """What came before the finalists: `6 configurations in 10 short trainings`."""
    short = ", fewer than `trials` for the sake of the minutes" if cut_short else ""
    return f"{count(configurations, 'configuration')} in {count(trainings, 'short training')}{short}"


def difference_heading(folds: int) -> str:
    """Of the column of what decided, which is not the column before it where it was measured by folds."""
    return "by folds" if folds else "to control"


def finalist_words(measure: Measure, seeds: int, folds: int) -> str:
    """What the columns of finalists are: how often each was trained, and what decided.

    Args:
        measure: The figure that decides.
        seeds: Of each finalist.
        folds: Of the cross-validation; 0 without one.
    """
    over = f"{count(folds, 'fold')} of cross-validation" if folds else "seeds and validation rows"
    return (
        f"Finalists were trained in full with {count(seeds, 'fresh seed')}; {difference_heading(folds)}: "
        f"what decided, the difference to the control's in {measure.heading} ± its standard error over {over}"
        f"{measure.turned}."
    )
