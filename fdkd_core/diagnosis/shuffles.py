"""What a figure is worth: the same figure for pairs that do not belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fdkd_core.spec.findings import Spread


def permutations(
    labels: NDArray[np.int64], count: int, rng: np.random.Generator, *, within_class: bool
) -> Iterator[NDArray[np.int64]]:
    """Random orders of the rows.

    Args:
        labels: Class of each row.
        count: How many orders.
        rng: Of the orders.
        within_class: Rows change places only with rows of their own class.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for _ in range(count):
        if not within_class:
            yield rng.permutation(len(labels))
            continue
        order = np.empty(len(labels), dtype=np.int64)
        for rows in members:
            order[rows] = rng.permutation(rows)
        yield order


def spread(values: Sequence[float]) -> Spread:
    """Mean, and the range that holds the middle 95 %."""
    low, high = np.quantile(values, (0.025, 0.975))
    return Spread(mean=float(np.mean(values)), low=float(low), high=float(high))
