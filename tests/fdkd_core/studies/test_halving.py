from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fdkd_core.spec import (
    AutoSpec,
    FDCMKDSpec,
    LogitKDSpec,
    NoneSpec,
    TrainingSpec,
)
from fdkd_core.spec.trainings import rung_epochs
from fdkd_core.studies.halving import (
    better_half,
    configurations,
    different_first,
    ranking,
    with_stated_first,
)

TRAINING = TrainingSpec(epochs=20)
SPEC = AutoSpec(methods=(LogitKDSpec(), FDCMKDSpec(), LogitKDSpec(weight=4.0)), trials=13)


def test_rounds_share_the_trials_equally_and_begin_with_what_is_stated() -> None:
    rounds = configurations(SPEC, TRAINING)
    assert len(rounds) == 3
    assert [c.number for turn in rounds for c in turn] == list(range(12))
    for turn in rounds:
        assert [c.label for c in turn] == ["no_teacher", "logit_kd", "fd_cmkd", "logit_kd#2"]
        assert len({c.candidate.lr for c in turn}) == 1
    assert [c.candidate.method for c in rounds[0]] == [NoneSpec(), *SPEC.methods]
    assert {c.candidate.training for c in rounds[0]} == {TRAINING}


def test_few_trials_still_give_each_one() -> None:
    assert len(configurations(AutoSpec(methods=SPEC.methods, trials=2), TRAINING)) == 1


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(1, [1]), (2, [1]), (3, [1]), (4, [1, 2]), (20, [5, 10]), (100, [25, 50])]
)
def test_rungs_are_a_quarter_and_half_of_the_epochs(epochs: int, rungs: list[int]) -> None:
    assert rung_epochs(TrainingSpec(epochs=epochs)) == rungs


def test_the_better_half_goes_on_and_the_control_by_itself() -> None:
    tried = [c for turn in configurations(SPEC, TRAINING) for c in turn]
    #          none  logit fd   logit#2
    values = [0.10, 0.50, 0.90, 0.20,
              0.30, 0.60, 0.80, 0.70,
              0.20, 0.55, 0.10, 0.90]  # fmt: skip
    kept = better_half(tried, values)
    # Of three controls two, though every method is better; of nine methods five.
    assert [c.number for c in kept] == [2, 4, 5, 6, 7, 8, 11]


def test_finalists_are_of_different_methods_as_long_as_there_are_some() -> None:
    tried = [c for turn in configurations(SPEC, TRAINING) for c in turn]
    #          none  logit fd   logit#2
    values = [0.10, 0.50, 0.90, 0.20,
              0.30, 0.60, 0.80, 0.70,
              0.20, 0.55, -math.inf, 0.85]  # fmt: skip
    methods = [c for c in tried if not c.is_control]
    labels = [c.label for c in tried[:4]]
    found = different_first(methods, tried, values)
    assert [c.number for c in found] == [2, 11, 5, 6, 7, 9, 1, 3]
    assert [c.label for c in found[:3]] == [labels[2], labels[3], labels[1]]
    only = [c for c in methods if c.label == labels[2]]
    assert [c.number for c in different_first(only, tried, values)] == [2, 6]


def test_a_tie_goes_to_what_was_tried_first_and_the_diverged_stay_behind() -> None:
    tried = configurations(SPEC, TRAINING)[0]
    assert [c.number for c in better_half(tried, [0.5, 0.5, 0.5, 0.5])] == [0, 1, 2]
    assert [c.number for c in better_half(tried, [-math.inf, 0.1, -math.inf, -math.inf])] == [1]


def right(*shares: float) -> dict[int, NDArray[np.float64]]:
    """Of configurations of these accuracies, what 100 rows add: each is right on rows of its own."""
    return {
        number: np.random.default_rng(number).permutation(np.arange(100) < 100 * share).astype(float)
        for number, share in enumerate(shares)
        if share > -math.inf
    }


def test_a_method_as_stated_has_the_place_of_its_best_unless_that_is_ahead_beyond_noise() -> None:
    tried = [c for turn in configurations(SPEC, TRAINING) for c in turn]
    #          none  logit fd   logit#2
    values = [0.50, 0.50, 0.90, 0.70,
              0.51, 0.80, 0.80, 0.70,
              0.20, 0.55, 0.10, 0.71]  # fmt: skip
    # Where students differ on about half of a hundred rows, a difference has an error of 0.07.
    judged = with_stated_first(tried, values, right(*values), None, "accuracy")
    assert judged == [0.51, 0.50, 0.90, 0.71,
                      0.50, 0.80, 0.80, 0.70,
                      0.20, 0.55, 0.10, 0.70]  # fmt: skip
    assert ranking([c for c in tried if c.is_control], tried, judged)[0].number == 0
    assert values[0] == 0.50


def test_groups_decide_what_noise_is_there_too() -> None:
    tried = [c for turn in configurations(SPEC, TRAINING) for c in turn]
    values = [0.50, *[0.1] * 3, 0.60, *[0.1] * 7]
    shares = right(*values)
    shares[0] = (np.arange(100) < 50).astype(float)
    shares[4] = shares[0] + np.repeat([-1.0, 0.0, 1.0, 0.0], [2, 48, 12, 38])
    by_speaker = np.repeat([0, 1], 50)  # 0.10 ± 0.14 over these two, ± 0.04 over rows
    judged = with_stated_first(tried, values, shares, by_speaker, "accuracy")
    assert (judged[0], judged[4]) == (0.60, 0.50)
    judged = with_stated_first(tried, values, shares, None, "accuracy")
    assert (judged[0], judged[4]) == (0.50, 0.60)


def test_nothing_stands_in_for_a_method_that_diverged_as_stated_or_is_out() -> None:
    tried = [c for turn in configurations(SPEC, TRAINING) for c in turn]
    values = [-math.inf, *[0.1] * 3, 0.60, *[-math.inf] * 2, 0.1, 0.61, *[0.1] * 3]
    assert with_stated_first(tried, values, right(*values), None, "accuracy") == values
    assert with_stated_first(tried[4:], values[4:], right(*values), None, "accuracy") == values[4:]
    assert with_stated_first(tried, values, {}, None, "accuracy") == values
