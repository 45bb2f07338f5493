"""What a few seeds can tell: means with intervals, paired differences, and several methods at once.

A seed decides initial weights, order of batches, augmentation and dropout, and every arm of a comparison runs
with the same ones; differences are therefore taken seed by seed. The intervals speak of the training alone:
the test rows are the same in every run, and that others would give other figures is not in them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from fdkd_core.spec.result import Estimate

CONFIDENCE = 0.95
ROUNDING = 1e-9
"""A spread that is a smaller share of the values is none."""
Verdict = Literal["helps", "no evidence", "hurts"]


def estimate(values: Sequence[float]) -> Estimate:
    """Mean with its 95 % interval by Student's t; a single value is its own interval.

    Args:
        values: One per seed; at least one.
    """
    mean = statistics.fmean(values)
    half = 0.0
    if len(values) > 1:
        from scipy.special import stdtrit  # 0.3 s, which most runs never need

        freedom = len(values) - 1
        half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * standard_error(values)
    return Estimate(mean=mean, low=mean - half, high=mean + half)


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; at least two values. Exactly 0 for values that differ by rounding alone.

    Test figures come in steps of one sample: seeds that agree have differences such as 17/20 - 16/20 and
    18/20 - 17/20, which are not the same float.
    """
    spread = statistics.stdev(values)
    return 0.0 if spread <= ROUNDING * max(map(abs, values)) else spread / math.sqrt(len(values))


def paired_p_value(differences: Sequence[float]) -> float | None:
    """Two-sided p-value of Student's paired t-test.

    Returns:
        None where the test is not defined: with one difference, or where all are the same but not zero.
    """
    if len(differences) < 2:
        return None
    error = standard_error(differences)
    mean = statistics.fmean(differences)
    if error == 0.0:
        return 1.0 if mean == 0.0 else None
    from scipy.special import stdtr

    return float(2.0 * stdtr(len(differences) - 1, -abs(mean / error)))


def holm(p_values: Mapping[str, float], comparisons: int | None = None) -> dict[str, float]:
    """p-values of several comparisons with one control, adjusted so that one false "helps" stays unlikely.

    Args:
        p_values: By label, of the comparisons that have one.
        comparisons: How many were made, those without a p-value too; None for as many as there are.

    References:
        Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 1979. It holds
        however the tests depend on each other; here they share the control.
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    made = len(p_values) if comparisons is None else comparisons
    for place, label in enumerate(sorted(p_values, key=lambda label: p_values[label])):
        largest = max(largest, min(1.0, (made - place) * p_values[label]))
        adjusted[label] = largest
    return adjusted


def verdict(difference: Estimate) -> Verdict:
    """What the interval of a difference says.

    An interval without width is none: it is that of a single seed, or of seeds that happen to agree on test
    figures that come in steps of one sample. Neither is evidence.
    """
    if difference.low == difference.high:
        return "no evidence"
    if difference.low > 0.0:
        return "helps"
    return "hurts" if difference.high < 0.0 else "no evidence"


def share_of_gap(value: float, control: float, teacher: float, *, smallest_gap: float) -> float | None:
    """Share of the way from control to teacher; None for a gap under `smallest_gap`, a ratio of noise."""
    gap = teacher - control
    return (value - control) / gap if gap >= smallest_gap else None
