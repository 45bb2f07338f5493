"""How far other test rows would move a difference, told by sums over blocks of rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fdkd_core.row_noise import row_noise
from fdkd_core.spec.row_blocks import RowBlocks
from fdkd_core.studies.row_blocks import (
    MOST_BLOCKS,
    RowGroups,
    row_blocks,
    spread_of_difference,
    spread_over_chance,
)

Shares = NDArray[np.float64]


def drawn(seed: int, rows: int, runs: int = 3) -> tuple[Shares, Shares]:
    """What rows add in two arms, which are right about the same rows mostly."""
    rng = np.random.default_rng(seed)
    hard = rng.random(rows)
    ours = (rng.random((runs, rows)) > 0.8 * hard).astype(float)
    return ours, (rng.random((runs, rows)) > hard).astype(float)


def by_group(numbers: NDArray[np.int64]) -> RowGroups:
    return RowGroups(numbers, "group")


def blocks(shares: Shares, groups: RowGroups | None = None) -> RowBlocks:
    return row_blocks(shares, np.zeros(shares.shape[1]), groups)


def test_few_independent_rows_are_blocks_of_their_own() -> None:
    """Then the error is that of rows, exactly."""
    ours, others = drawn(1, 40)
    assert blocks(ours).rows == [1] * 40
    found = spread_of_difference(blocks(ours), blocks(others))
    assert found is not None
    expected = row_noise(ours.mean(axis=0) - others.mean(axis=0), None)
    assert found.error == pytest.approx(expected.standard_error)
    assert found.freedom == 39


def test_four_rows_by_hand() -> None:
    """Differences 1, 0, 0, -1 about their mean 0: sqrt(4/3 * 2) / 4."""
    found = spread_of_difference(blocks(np.array([[1.0, 1, 0, 0]])), blocks(np.array([[0.0, 1, 0, 1]])))
    assert found is not None
    assert found.error == pytest.approx((8 / 3) ** 0.5 / 4)
    assert found.freedom == 3


def test_two_groups_by_hand() -> None:
    """Differences 1, 1 | 0, 0, mean 1/2: sums of deviations 1 and -1, so sqrt(2/1 * 2) / 4 = 1/2."""
    groups = by_group(np.array([7, 7, 3, 3]))
    found = spread_of_difference(
        blocks(np.array([[1.0, 1, 0, 0]]), groups), blocks(np.array([[0.0, 0, 0, 0]]), groups)
    )
    assert found is not None
    assert (found.error, found.freedom) == (0.5, 1)


@pytest.mark.parametrize("groups", [2, 9, 60, 255])
def test_groups_that_have_blocks_of_their_own_give_the_clustered_error(groups: int) -> None:
    ours, others = drawn(groups, 3000)
    numbers = np.random.default_rng(groups).integers(0, groups, 3000) * 10
    moved = ours + 0.3 * (numbers % 30 == 0)  # what a group has in common
    found = spread_of_difference(blocks(moved, by_group(numbers)), blocks(others, by_group(numbers)))
    assert found is not None
    expected = row_noise(moved.mean(axis=0) - others.mean(axis=0), numbers)
    assert found.error == pytest.approx(expected.standard_error, rel=0.15 if groups == 2 else 1e-6)
    assert found.freedom == groups - 1


def test_among_few_groups_that_agree_by_luck_the_error_over_rows_stands() -> None:
    ours, others = drawn(3, 2000)
    numbers = np.arange(2000) % 2
    ours[:, numbers == 1] = ours[:, numbers == 0]
    others[:, numbers == 1] = others[:, numbers == 0]
    found = spread_of_difference(blocks(ours, by_group(numbers)), blocks(others, by_group(numbers)))
    over_rows = row_noise(ours.mean(axis=0) - others.mean(axis=0), None).standard_error
    assert found is not None
    assert found.error == pytest.approx(over_rows, rel=0.2)
    assert found.freedom == 1


@pytest.mark.parametrize("groups", [None, 5000])
def test_many_rows_or_groups_share_blocks_and_give_their_error_on_average(groups: int | None) -> None:
    """Rows in the order of their labels, of which one is learned by us alone: neighbours are alike."""
    rows, ratios = 20_000, []
    for seed in range(12):
        ours, others = drawn(seed, rows)
        ours[:, :2000] = 1.0
        numbers = None if groups is None else np.arange(rows) // 4
        found = spread_of_difference(
            *(blocks(arm, None if numbers is None else by_group(numbers)) for arm in (ours, others))
        )
        assert found is not None
        assert found.freedom == MOST_BLOCKS - 1
        expected = row_noise(ours.mean(axis=0) - others.mean(axis=0), numbers).standard_error
        ratios.append(found.error / expected)
    # One estimate from 256 blocks has an error of 1 / sqrt(2 * 255), 4.4 %.
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.05)
    assert len(blocks(ours).shares) == MOST_BLOCKS


def test_equal_data_have_equal_blocks_and_the_sums_are_the_figure() -> None:
    ours, others = drawn(5, 1000)
    numbers = np.random.default_rng(2).integers(0, 31, 1000)
    mine, yours = blocks(ours, by_group(numbers)), blocks(others, by_group(numbers))
    assert (mine.rows, mine.groups, mine.num_groups, mine.grouped_by) == (
        yours.rows, yours.groups, 31, "group",
    )  # fmt: skip
    assert sum(mine.rows) == 1000
    assert sum(mine.shares) / 1000 == pytest.approx(ours.mean())


def test_what_is_not_known_is_said_to_be_none() -> None:
    ours, others = drawn(6, 50)
    one = by_group(np.zeros(50, np.int64))
    assert spread_of_difference(blocks(ours, one), blocks(others, one)) is None
    assert spread_of_difference(blocks(ours), None) is None
    assert spread_of_difference(blocks(ours), blocks(others[:, :40])) is None
    assert spread_of_difference(blocks(ours), blocks(others, by_group(np.arange(50) % 5))) is None
    assert spread_of_difference(blocks(ours[:, :1]), blocks(others[:, :1])) is None
    assert spread_over_chance(None) is None
    assert spread_over_chance(blocks(ours, one)) is None


def test_the_lead_over_chance_has_its_own_spread() -> None:
    """Right exactly where who looks at nothing is right: no spread."""
    ours, _ = drawn(7, 60, runs=1)
    found = spread_over_chance(row_blocks(ours, ours[0], None))
    assert found is not None
    assert found.error == 0.0
    apart = spread_over_chance(row_blocks(ours, np.zeros(60), None))
    assert apart is not None
    assert apart.error == pytest.approx(ours[0].std(ddof=1) / 60**0.5)


@pytest.mark.parametrize(
    ("groups", "grouped_by", "words"),
    [
        (None, None, "seeds and test rows"),
        (12, "group", "seeds and the 12 groups of the test split"),
        (3, "label", "seeds and the 3 labels of the test split"),
    ],
)
def test_words(groups: int | None, grouped_by: str | None, words: str) -> None:
    found = RowBlocks.model_validate(
        {
            "shares": [1.0], "chance": [0.0], "rows": [2], "groups": None if groups is None else [0],
            "num_groups": groups, "grouped_by": grouped_by,
        }
    )  # fmt: skip
    assert found.words == words
