"""How far other test rows, or other people, would move what a comparison found.

A comparison concludes from results of jobs, without data. So each result has sums over blocks of test rows;
the spread over blocks of independent rows tells the error of a mean as the rows themselves do (batch means).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.row_noise import clustered_error
from fdkd_core.spec.row_blocks import RowBlocks
from fdkd_core.spec.uplift import GroupedBy
from fdkd_core.studies.statistics import Spread

MOST_BLOCKS = 256
"""With so many the t quantile is within half a percent of that of infinitely many."""


@dataclass(frozen=True)
class RowGroups:
    """Which rows of a split succeed or fail together."""

    numbers: NDArray[np.int64]
    """Number of each row's group, shape [N]."""
    grouped_by: GroupedBy


def row_blocks(
    shares_RN: NDArray[np.float64], chance_N: NDArray[np.float64], groups: RowGroups | None
) -> RowBlocks:
    """Sums by block.

    Args:
        shares_RN: What each row adds to the figure, in each final run, shape [runs, N].
        chance_N: The same of who looks at no sample, shape [N].
        groups: None for independent rows.
    """
    places_N, groups_B = _blocks(len(chance_N), None if groups is None else groups.numbers)

    def sums(values_N: NDArray[np.float64]) -> list[float]:
        # Nine digits are more than the spread of so few needs, and half as long.
        return [float(f"{found:.9g}") for found in np.bincount(places_N, weights=values_N)]

    return RowBlocks(
        shares=sums(shares_RN.mean(axis=0)),
        chance=sums(chance_N),
        rows=[int(found) for found in np.bincount(places_N)],
        groups=None if groups_B is None else [int(found) for found in groups_B],
        num_groups=None if groups is None else len(np.unique(groups.numbers)),
        grouped_by=None if groups is None else groups.grouped_by,
    )


def spread_of_difference(ours: RowBlocks | None, others: RowBlocks | None) -> Spread | None:
    """Of the difference of two figures, over rows.

    Returns:
        None where it is not known: of results without blocks, on other rows than each other, or on rows of a
        single group, which say nothing of another.
    """
    if ours is None or others is None or (ours.rows, ours.groups) != (others.rows, others.groups):
        return None
    return _spread(ours, np.subtract(ours.shares, others.shares))


def spread_of_rows(found: RowBlocks | None) -> Spread | None:
    """Of the figure itself; None as above."""
    return None if found is None else _spread(found, np.asarray(found.shares))


def spread_over_chance(found: RowBlocks | None) -> Spread | None:
    """Of the lead over who looks at no sample; None as above."""
    return None if found is None else _spread(found, np.subtract(found.shares, found.chance))


def _blocks(
    num_rows: int, groups_N: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """The block of each row, shape [N], and the group of each block, shape [B]."""
    # RandomState's numbers stay the same with every release of numpy: the workers of two arms may have two.
    # Shuffled, since neighbours in a file may be alike.
    random = np.random.RandomState(0)
    order_N = random.permutation(num_rows)
    if groups_N is None:
        places_N = np.empty(num_rows, np.int64)
        places_N[order_N] = np.arange(num_rows) % MOST_BLOCKS
        return places_N, None
    names, numbers_N = np.unique(groups_N, return_inverse=True)
    numbers_N = random.permutation(len(names))[numbers_N]
    per_group = max(1, MOST_BLOCKS // len(names))
    by_group_N = order_N[np.argsort(numbers_N[order_N], kind="stable")]
    starts_G = np.searchsorted(numbers_N[by_group_N], np.arange(len(names)))
    place_in_group_N = np.arange(num_rows) - starts_G[numbers_N[by_group_N]]
    keys_N = numbers_N % MOST_BLOCKS * per_group
    keys_N[by_group_N] += place_in_group_N % per_group
    found, places_N = np.unique(keys_N, return_inverse=True)
    return places_N, found // per_group


def _spread(blocks: RowBlocks, sums_B: NDArray[np.floating[Any]]) -> Spread | None:
    """Of a mean over rows, from its sums by block, as `row_noise` has it from rows."""
    rows_B = np.asarray(blocks.rows)
    num_rows = int(rows_B.sum())
    if len(rows_B) < 2:
        return None
    deviations_B = sums_B - rows_B * (sums_B.sum() / num_rows)
    over_blocks = clustered_error(deviations_B, num_rows)
    if blocks.groups is None:
        return Spread(over_blocks, len(rows_B) - 1)
    sums_G = np.bincount(blocks.groups, weights=deviations_B)
    if len(sums_G) < 2:
        return None
    # The smaller one, among few groups, is luck.
    return Spread(max(clustered_error(sums_G, num_rows), over_blocks), len(sums_G) - 1)
