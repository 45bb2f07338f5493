from __future__ import annotations

import math

import pytest

from fdkd_core.spec import (
    AutoSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    NoneSpec,
    TrainingSpec,
)
from fdkd_core.studies.halving import (
    affordable_rounds,
    better_half,
    configurations,
    epochs_in_all,
    rung_epochs,
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


def test_a_tie_goes_to_what_was_tried_first_and_the_diverged_stay_behind() -> None:
    tried = configurations(SPEC, TRAINING)[0]
    assert [c.number for c in better_half(tried, [0.5, 0.5, 0.5, 0.5])] == [0, 1, 2]
    assert [c.number for c in better_half(tried, [-math.inf, 0.1, -math.inf, -math.inf])] == [1]


def test_the_cost_by_hand() -> None:
    """20 epochs, 4 arms, 3 rounds: 12 x 5, then (2 + 5) x 10, then 3 finalists x 3 seeds x 20."""
    assert epochs_in_all(SPEC, TRAINING, rounds=3, arms=4) == 60 + 70 + 180
    # And each finalist anew without each of five folds.
    assert epochs_in_all(SPEC, TRAINING, rounds=3, arms=4, folds=5) == 60 + 70 + 180 + 300


def test_minutes_allow_as_many_rounds_as_fit() -> None:
    spec = AutoSpec(methods=SPEC.methods, trials=40, minutes=10.0)  # 10 rounds if time allows
    fast, slow = [5.0] * 4, [60.0] * 4  # seconds for the 5 epochs of the first rung
    assert affordable_rounds(spec, TRAINING, [0.5] * 4, 10) == 10
    allowed = affordable_rounds(spec, TRAINING, fast, 10)
    assert epochs_in_all(spec, TRAINING, allowed, 4) <= 600 < epochs_in_all(spec, TRAINING, allowed + 1, 4)
    assert affordable_rounds(spec, TRAINING, fast, 10, folds=5) < allowed
    assert affordable_rounds(spec, TRAINING, slow, 10) == 1
    assert affordable_rounds(AutoSpec(methods=(FeatureMSESpec(),), trials=40), TRAINING, slow, 20) == 20


def test_what_a_training_costs_is_told_by_those_that_came_to_their_end() -> None:
    """Where the methods diverged at once, the control alone says how long the others will take."""
    spec = AutoSpec(methods=SPEC.methods, trials=40, minutes=10.0)
    for seconds in (5.0, 10.0, 60.0):
        told = affordable_rounds(spec, TRAINING, [seconds], 10, diverged=[0.2] * 3)
        assert told == affordable_rounds(spec, TRAINING, [seconds] * 4, 10)


def test_where_all_diverged_the_next_round_finds_out_while_there_is_time() -> None:
    spec = AutoSpec(methods=SPEC.methods, trials=40, minutes=1.0)
    assert affordable_rounds(spec, TRAINING, [], 10, diverged=[0.2] * 4) == 2
    assert affordable_rounds(spec, TRAINING, [], 10, diverged=[0.2] * 12) == 4
    assert affordable_rounds(spec, TRAINING, [], 3, diverged=[0.2] * 12) == 3
    assert affordable_rounds(spec, TRAINING, [], 10, diverged=[16.0] * 4) == 1
    assert affordable_rounds(spec, TRAINING, [5.0], 10, diverged=[0.2] * 11) == affordable_rounds(
        spec, TRAINING, [5.0], 10
    )
