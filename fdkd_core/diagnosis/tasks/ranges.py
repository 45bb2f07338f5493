"""Strata of rows whose labels are numbers: rows that lie close together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdkd_core.diagnosis.products import Matrix

LEAST_ROWS = 15
"""Of a range: with fewer, a shuffle among them leaves too many rows where they were."""


def ranges(numbers_NQ: Matrix, least: int = LEAST_ROWS) -> NDArray[np.int64]:
    """The range that each row lies in: quantiles of one number, boxes of several.

    All rows are one range at first. Each is cut near the median of the number that varies most in it, as long
    as both halves keep `least` rows; rows with equal numbers stay together.

    Args:
        numbers_NQ: In units that can be compared with each other.
        least: Rows of a range.

    Returns:
        Numbers of ranges, [N].
    """
    found = np.zeros(len(numbers_NQ), np.int64)
    waiting, count = [np.arange(len(numbers_NQ))], 0
    while waiting:
        rows = waiting.pop()
        column = int(numbers_NQ[rows].var(axis=0).argmax()) if len(rows) else 0
        order = rows[np.argsort(numbers_NQ[rows, column], kind="stable")]
        cuts = np.flatnonzero(np.diff(numbers_NQ[order, column])) + 1
        cuts = cuts[(cuts >= least) & (cuts <= len(order) - least)]
        if len(cuts) == 0:
            found[rows] = count
            count += 1
            continue
        cut = int(cuts[np.abs(cuts - len(order) / 2).argmin()])
        waiting += [order[:cut], order[cut:]]
    return found
