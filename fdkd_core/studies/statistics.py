"""What a few seeds and test rows can tell: means with intervals, paired differences, several methods at once.

A seed decides initial weights, order of batches, augmentation and dropout, and every arm of a comparison runs
with the same ones; differences are therefore taken seed by seed. The test rows are the same in every run;
that others would give other figures is a second spread, and where it is known intervals are over both
(docs/decisions/0040).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    return over_all(statistics.fmean(values), [over_seeds(values)] if len(values) > 1 else [])


@dataclass(frozen=True)
class Spread:
    """One of the things by which a mean would come out otherwise: other seeds, other test rows."""

    error: float
    """Standard error of the mean."""
    freedom: int
    """Degrees of freedom of its Student's t."""


def over_seeds(values: Sequence[float]) -> Spread:
    """Of a mean over seeds; at least two values."""
    return Spread(standard_error(values), len(values) - 1)


def over_all(mean: float, spreads: Sequence[Spread]) -> Estimate:
    """A mean with its 95 % interval over several independent spreads, whose half-widths add in squares.

    What seeds and rows do together is in both spreads, and so counted twice: the interval errs to the wide
    side.

    References:
        Zou and Donner, "Construction of confidence limits about effect measures", Statist. Med. 2008 (MOVER).
        On what is counted twice, Cameron, Gelbach and Miller, "Robust inference with multiway clustering",
        J. Bus. Econ. Stat. 2011.
    """
    half = _half_width(spreads, 1.0 - CONFIDENCE)
    return Estimate(mean=mean, low=mean - half, high=mean + half)


def p_value(mean: float, spreads: Sequence[Spread]) -> float | None:
    """The level at which the interval of `over_all` ends at 0; with one spread that of Student's t-test.

    Returns:
        None where nothing spreads and the mean is not 0: no test is defined.
    """
    if mean == 0.0:
        return 1.0
    if not any(spread.error > 0.0 for spread in spreads):
        return None
    from scipy.optimize import brentq

    def beyond(log_p: float) -> float:
        return _half_width(spreads, math.exp(log_p)) - abs(mean)

    # At 1 the interval has no width, so that it has lost 0 somewhere before.
    return 0.0 if beyond(_LEAST_LOG_P) < 0.0 else math.exp(brentq(beyond, _LEAST_LOG_P, 0.0, xtol=1e-12))


_LEAST_LOG_P = -200.0


def _half_width(spreads: Sequence[Spread], level: float) -> float:
    """Of the interval that leaves out so much."""
    from scipy.special import stdtrit  # 0.3 s, which most runs never need

    # The lower tail: 1 - level / 2 is 1 for a small level.
    return math.hypot(*(float(stdtrit(spread.freedom, level / 2.0)) * spread.error for spread in spreads))


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; at least two values. Exactly 0 for values that differ by rounding alone.

    Test figures come in steps of one sample: seeds that agree have differences such as 17/20 - 16/20 and
    18/20 - 17/20, which are not the same float.
    """
    spread = statistics.stdev(values)
    return 0.0 if spread <= ROUNDING * max(map(abs, values)) else spread / math.sqrt(len(values))


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
