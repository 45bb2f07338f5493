"""How far other test rows, or other people, would move a figure that is a mean over rows.

Rows of one group (a speaker, a patient) are alike: a student that suits a voice suits all of its recordings.
So where the data have groups, groups are what was sampled, and a thousand recordings of two speakers say how
two speakers differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
MANY_ROWS, FACTOR = 60, 2.0
"""Standard errors in half of the interval of so many independent rows and more: Student's t to two places."""


@dataclass(frozen=True)
class RowNoise:
    """What the size of a split leaves uncertain."""

    standard_error: float
    """Of the mean; over groups where there are several."""
    half_width: float | None
    """Half of its 95 % interval; None where all rows are of one group, which says nothing of another."""
    groups: int | None
    """How many groups the rows are of; None where rows are independent."""


def row_noise(shares_N: NDArray[np.floating[Any]], groups_N: NDArray[np.int64] | None) -> RowNoise:
    """Of the mean of `shares_N`.

    With G groups the standard error is clustered: sqrt(G / (G - 1) * sum over groups of (sum of the group's
    deviations)^2) / N, as by Liang and Zeger 1986 with the usual correction for few groups; the interval has
    Student's t of G - 1 degrees of freedom. For independent rows it is the usual error with N - 1, by which
    a single row that differs is exactly one error ahead and no more; the interval of few rows has Student's
    t of N - 1. Where the clustered error is the smaller, which among few groups is luck, that of independent
    rows stands.

    Args:
        shares_N: What each row adds to a figure, shape [N]; at least one row.
        groups_N: Number of each row's group, shape [N]; None for independent rows.
    """
    over_rows = float(shares_N.std(ddof=1) / math.sqrt(len(shares_N))) if len(shares_N) > 1 else 0.0
    if groups_N is None:
        is_many = len(shares_N) >= MANY_ROWS or over_rows == 0.0
        return RowNoise(
            over_rows, (FACTOR if is_many else errors_in_half_width(len(shares_N))) * over_rows, None
        )
    names, places_N = np.unique(groups_N, return_inverse=True)
    groups = len(names)
    if groups == 1:
        return RowNoise(over_rows, None, 1)
    sums_G = np.bincount(places_N, weights=shares_N - shares_N.mean())
    over_groups = clustered_error(sums_G, len(shares_N))
    error = max(over_groups, over_rows)
    return RowNoise(error, errors_in_half_width(groups) * error, groups)


def clustered_error(deviations_G: NDArray[Any], rows: int) -> float:
    """Standard error of a mean over so many rows, from the sum of each group's deviations, shape [G > 1]."""
    groups = len(deviations_G)
    return math.sqrt(groups / (groups - 1) * float((deviations_G**2).sum())) / rows


def errors_in_half_width(count: int) -> float:
    """Standard errors in half of the interval of so many groups or rows, at least two."""
    from scipy.special import stdtrit  # 0.3 s, which large data without groups never need

    return float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2))
