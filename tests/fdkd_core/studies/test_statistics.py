from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fdkd_core.spec.result import Estimate
from fdkd_core.studies.statistics import (
    Spread,
    estimate,
    holm,
    over_all,
    over_seeds,
    p_value,
    share_of_gap,
    standard_error,
    verdict,
)


def paired_p_value(differences: list[float]) -> float | None:
    return p_value(float(np.mean(differences)), [over_seeds(differences)])


def test_an_estimate_by_hand() -> None:
    """Mean 2, sd 1, n 3: half width t(0.975; 2) / sqrt(3), and t(0.975; 2) is 4.3027."""
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.high - 2.0 == pytest.approx(4.30265273 / math.sqrt(3), rel=1e-8)
    assert 2.0 - found.low == pytest.approx(found.high - 2.0)


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_intervals_and_p_values_are_those_of_scipy(count: int) -> None:
    rng = np.random.default_rng(count)
    student, control = rng.normal(0.8, 0.02, count), rng.normal(0.79, 0.02, count)
    differences = (student - control).tolist()
    found = estimate(differences)
    low, high = stats.t.interval(0.95, count - 1, np.mean(differences), stats.sem(differences))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert paired_p_value(differences) == pytest.approx(stats.ttest_rel(student, control).pvalue, rel=1e-9)
    assert standard_error(differences) == pytest.approx(stats.sem(differences))


def test_one_seed_is_its_own_interval_and_has_no_p_value() -> None:
    assert estimate([0.5]) == Estimate(mean=0.5, low=0.5, high=0.5)
    assert p_value(0.5, []) is None


def test_equal_differences_have_no_p_value_unless_there_is_no_difference() -> None:
    assert paired_p_value([0.25, 0.25, 0.25]) is None
    assert paired_p_value([0.0, 0.0]) == 1.0


@pytest.mark.parametrize("rows", [20, 150, 939])
def test_differences_that_rounding_alone_tells_apart_are_equal(rows: int) -> None:
    """Each seed is one row better. In floats 17/20 - 16/20 is not 18/20 - 17/20."""
    right = [rows - 4, rows - 3, rows - 5]
    differences = [(n + 1) / rows - n / rows for n in right]
    assert len(set(differences)) > 1
    assert standard_error(differences) == 0.0
    assert verdict(estimate(differences)) == "no evidence"
    assert paired_p_value(differences) is None


def test_what_is_small_is_not_taken_for_rounding() -> None:
    """Errors of a regression in its own units may be tiny."""
    assert standard_error([1e-12, 1.1e-12, 0.9e-12]) == pytest.approx(1e-13 / math.sqrt(3))


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.03, 0.04 times 3, 2, 1 is 0.03, 0.06, 0.04; none may be below the one before."""
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"b": 0.03, "c": 0.06, "a": 0.06})
    assert holm({"a": 0.7, "b": 0.6}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.001, 0.02, "helps"),
        (-0.02, -0.001, "hurts"),
        (-0.001, 0.02, "no evidence"),
        (0.0, 0.02, "no evidence"),
        (-0.02, 0.0, "no evidence"),
        (0.02, 0.02, "no evidence"),
        (-0.02, -0.02, "no evidence"),
    ],
)
def test_the_verdict_goes_by_the_interval(low: float, high: float, expected: str) -> None:
    assert verdict(Estimate(mean=(low + high) / 2, low=low, high=high)) == expected


def test_the_share_of_a_gap() -> None:
    assert share_of_gap(0.75, 0.7, 0.9, smallest_gap=0.01) == pytest.approx(0.25)
    assert share_of_gap(0.75, 0.7, 0.705, smallest_gap=0.01) is None
    assert share_of_gap(0.6, 0.7, 0.5, smallest_gap=0.01) is None


def test_half_widths_of_seeds_and_rows_add_in_squares() -> None:
    """t(0.975; 2) = 4.3027 times 1 and t(0.975; 9) = 2.2622 times 2: hypot(4.3027, 4.5243) = 6.2436."""
    found = over_all(10.0, [Spread(1.0, 2), Spread(2.0, 9)])
    assert found.high - 10.0 == pytest.approx(6.2436, abs=1e-4)
    assert 10.0 - found.low == pytest.approx(found.high - 10.0)


@pytest.mark.parametrize("mean", [0.5, 2.0, 5.0, 40.0, -5.0])
def test_p_is_where_the_interval_over_both_ends_at_nothing(mean: float) -> None:
    spreads = [Spread(1.0, 4), Spread(0.7, 30)]
    found = p_value(mean, spreads)
    assert found is not None
    halves = [stats.t.isf(found / 2, spread.freedom) * spread.error for spread in spreads]
    assert math.hypot(*halves) == pytest.approx(abs(mean), rel=1e-6)
    interval = over_all(mean, spreads)
    assert (found < 0.05) == (interval.low > 0.0 or interval.high < 0.0)


def test_p_of_what_is_certain_or_nothing() -> None:
    assert p_value(0.0, [Spread(1.0, 4)]) == 1.0
    assert p_value(1.0, [Spread(0.0, 4), Spread(0.0, 9)]) is None
    tiny = p_value(1.0, [Spread(1e-9, 200), Spread(1e-9, 200)])
    assert tiny is not None
    assert 0.0 <= tiny < 1e-50


@pytest.mark.parametrize("effect", ["none", "some"])
def test_the_interval_over_both_holds_the_truth_as_often_as_it_says(effect: str) -> None:
    """Seeds alone, three of them, on fifteen speakers who differ, do not."""
    rng = np.random.default_rng(0)
    truth = 0.0 if effect == "none" else 0.04
    held, held_by_seeds, count = 0, 0, 400
    for _ in range(count):
        of_speakers = truth + rng.normal(0.0, 0.05, 15)
        runs_SG = of_speakers + rng.normal(0.0, 0.01, (3, 1)) + rng.normal(0.0, 0.03, (3, 15))
        spreads = [over_seeds(runs_SG.mean(axis=1).tolist()), over_seeds(runs_SG.mean(axis=0).tolist())]
        both, alone = over_all(runs_SG.mean(), spreads), over_all(runs_SG.mean(), spreads[:1])
        held += both.low <= truth <= both.high
        held_by_seeds += alone.low <= truth <= alone.high
    assert held / count >= 0.94
    assert held_by_seeds / count < 0.9
