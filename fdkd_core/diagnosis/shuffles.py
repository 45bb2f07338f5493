"""What a figure is worth: the same figure for pairs that do not belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fdkd_core.spec.findings import Spread


def permutations(
    num_rows: int, count: int, rng: np.random.Generator, *, strata: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Random orders of the rows.

    Args:
        num_rows: How many rows.
        count: How many orders.
        rng: Of the orders.
        strata: Such as the class of each row: rows change places only with rows of their own; None for any.
    """
    members = [] if strata is None else [np.flatnonzero(strata == one) for one in np.unique(strata)]
    for _ in range(count):
        if strata is None:
            yield rng.permutation(num_rows)
            continue
        order = np.empty(num_rows, dtype=np.int64)
        for rows in members:
            order[rows] = rng.permutation(rows)
        yield order


def spread(values: Sequence[float]) -> Spread:
    """Mean, and the range that holds the middle 95 %."""
    low, high = np.quantile(values, (0.025, 0.975))
    return Spread(mean=float(np.mean(values)), low=float(low), high=float(high))
