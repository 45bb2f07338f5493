"""What fits into the minutes of a search, by times that are made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fdkd_core.spec import TrainingSpec
from fdkd_core.studies.minutes import (
    FINALS,
    PLAN,
    Budget,
    Finals,
    Timed,
    choices,
    epochs_in_all,
    fitting_finals,
    plan_search,
)
from fdkd_core.studies.outcomes import Outcomes
from fdkd_core.workspace import Workspace

TRAINING = TrainingSpec(epochs=20)
ASKED = Finals(finalists=2, seeds=3, folds=0)


def test_the_cost_by_hand() -> None:
    """20 epochs, 4 arms, 3 rounds: 12 x 5, then (2 + 5) x 10, then 3 finalists x 3 seeds x 20."""
    assert epochs_in_all(TRAINING, 3, 4, ASKED) == 60 + 70 + 180
    # And each finalist anew without each of five folds.
    assert epochs_in_all(TRAINING, 3, 4, Finals(2, 3, 5)) == 60 + 70 + 180 + 300


def test_finalists_go_first_then_seeds_then_folds() -> None:
    assert choices(Finals(3, 4, 5), [4, 3]) == [
        Finals(3, 4, 5), Finals(2, 4, 5), Finals(1, 4, 5),
        Finals(1, 3, 5), Finals(1, 2, 5),
        Finals(1, 2, 4), Finals(1, 2, 3),
    ]  # fmt: skip
    assert choices(Finals(1, 2, 0), []) == [Finals(1, 2, 0)]


def test_a_plan_fits_whenever_the_least_does_and_leaves_out_no_more_than_it_must() -> None:
    rng = np.random.default_rng(0)
    seen = {True: 0, False: 0}
    for _ in range(2000):
        training = TrainingSpec(epochs=int(rng.integers(1, 60)))
        arms, tried = int(rng.integers(2, 7)), int(rng.integers(1, 3))
        wanted = tried + int(rng.integers(0, 9))
        folds = int(rng.choice([0, 3, 5]))
        asked = Finals(int(rng.integers(1, 6)), int(rng.integers(2, 6)), folds)
        options = choices(asked, list(range(folds - 1, 2, -1)))
        per_epoch = float(10.0 ** rng.uniform(-3, 3))

        def cost(
            rounds: int,
            finals: Finals,
            training: TrainingSpec = training,
            arms: int = arms,
            per_epoch: float = per_epoch,
        ) -> float:
            return per_epoch * epochs_in_all(training, rounds, arms, finals)  # fmt: skip

        budget = float(rng.uniform(0.5, 1.2) * rng.choice([cost(tried, options[-1]), cost(wanted, asked)]))
        plan = plan_search(
            training, arms, options, tried=tried, wanted=wanted, per_epoch=per_epoch, budget=budget
        )
        fits = cost(tried, options[-1]) <= budget
        seen[fits] += 1
        assert plan.is_enough == fits
        assert (plan.seconds <= budget) == fits
        assert plan.seconds == cost(plan.rounds, plan.finals)
        assert tried <= plan.rounds <= wanted
        if not fits:
            assert (plan.rounds, plan.finals) == (tried, options[-1])
            continue
        assert plan.rounds == wanted or cost(plan.rounds + 1, plan.finals) > budget
        for richer in options[: options.index(plan.finals)]:
            assert cost(tried, richer) > budget
    assert min(seen.values()) > 100


def test_the_final_trainings_fit_into_what_is_left() -> None:
    options = choices(ASKED, [])  # 9, 6 and 4 trainings of 20 epochs

    def fitting(used: float) -> tuple[Finals, float, bool]:
        return fitting_finals(TRAINING, options, per_epoch=1.0, used=used, budget=300.0)

    assert fitting(120.0) == (Finals(2, 3, 0), 300.0, True)
    assert fitting(121.0) == (Finals(1, 3, 0), 241.0, True)
    assert fitting(220.0) == (Finals(1, 2, 0), 300.0, True)
    assert fitting(221.0) == (Finals(1, 2, 0), 301.0, False)


def budget(folder: Path, warnings: list[str], minutes: float = 10.0, wanted: int = 10) -> Budget:
    """Of a search with four arms."""
    return Budget(
        minutes, TRAINING, 4, wanted, ASKED, [], outcomes=Outcomes(Workspace(folder)), warn=warnings.append
    )


def ended(seconds: float, count: int = 4) -> list[Timed]:
    return [Timed(seconds, has_ended=True)] * count


def diverged(count: int, seconds: float = 0.2) -> list[Timed]:
    return [Timed(seconds, has_ended=False)] * count


def test_minutes_allow_as_many_rounds_as_fit(tmp_path: Path) -> None:
    warnings: list[str] = []
    found = {
        seconds: budget(tmp_path / str(seconds), warnings).rounds(1, ended(seconds), begun=None)
        for seconds in (0.5, 10.0)  # of the 5 epochs of the first rung
    }
    assert found[0.5] == 10
    assert 2.0 * epochs_in_all(TRAINING, found[10.0], 4, ASKED) <= 600
    assert 2.0 * epochs_in_all(TRAINING, found[10.0] + 1, 4, ASKED) > 600
    assert warnings == []


def test_what_a_training_costs_is_told_by_those_that_came_to_their_end(tmp_path: Path) -> None:
    """Where the methods diverged at once, the control alone says how long the others will take."""
    for seconds in (5.0, 10.0, 60.0):
        told, known = (
            budget(tmp_path / f"{len(times)}-{seconds}-{index}", []).rounds(1, times, begun=None)
            for index, times in enumerate([ended(seconds, 1) + diverged(3), ended(seconds)])
        )
        assert told == known


def test_where_all_diverged_the_next_round_finds_out_while_there_is_time(tmp_path: Path) -> None:
    def rounds(tried: int, times: list[Timed], wanted: int = 10) -> int:
        return budget(tmp_path, [], minutes=1.0, wanted=wanted).rounds(tried, times, begun=None)

    assert rounds(1, diverged(4)) == 2
    assert rounds(3, diverged(12)) == 4
    assert rounds(3, diverged(12), wanted=3) == 3
    assert rounds(1, diverged(4, seconds=16.0)) == 1
    assert Outcomes(Workspace(tmp_path)).read(PLAN) is None


def test_what_was_decided_is_read_back_whatever_is_measured_later(tmp_path: Path) -> None:
    warnings: list[str] = []
    first = budget(tmp_path, warnings)
    rounds = first.rounds(1, ended(10.0), begun=None)
    finals = first.finals(ended(20.0))
    again = budget(tmp_path, warnings)
    again.used = 1e6
    assert 1 < rounds < 10
    for seconds in (1e-3, 1e6):
        assert again.rounds(1, ended(seconds), begun=None) == rounds
        assert again.finals(ended(seconds)) == finals == ASKED
    assert warnings == []


def test_what_an_earlier_release_has_planned_stays(tmp_path: Path) -> None:
    """It limited rounds alone: its outcomes are of that many, and its finals as they were asked for."""
    begun = budget(tmp_path, [])
    begun.used = 1e6
    assert begun.rounds(1, ended(1e6), begun=7) == 7
    assert begun.finals(ended(1e6)) == ASKED


def test_too_few_minutes_are_told_once_and_the_least_is_done(tmp_path: Path) -> None:
    warnings: list[str] = []
    short = budget(tmp_path, warnings)
    assert short.rounds(1, ended(60.0), begun=None) == 1
    short.used = 20 * 60.0
    assert short.finals(ended(120.0)) == Finals(1, 2, 0)
    # 12 seconds an epoch: 4 x 5, 3 x 10 and 4 x 20 of them.
    assert warnings == [
        "the 10 minutes of the search are not enough: the least that it does takes about 26 minutes, "
        "which is done all the same"
    ]
    short.used = 30 * 60.0
    report = short.report()
    assert (report.allowed, report.used, report.rounds) == (600.0, 1800.0, 1)
    assert report.least == 20 * 60.0 + 12.0 * 80
    assert report.told == (
        "The 10 minutes allowed were not enough: the least that a search does was expected to take "
        "36 minutes, so it had 1 round of configurations instead of 10, 1 finalist instead of 2, "
        "2 seeds instead of 3; its trainings took 30 minutes."
    )


def test_rungs_that_take_longer_than_planned_shorten_the_finals(tmp_path: Path) -> None:
    warnings: list[str] = []
    found = budget(tmp_path, warnings)
    rounds = found.rounds(1, ended(10.0), begun=None)
    found.used = 400.0
    assert found.finals(ended(20.0)) == Finals(1, 2, 0)
    assert warnings == []
    found.used = 560.0
    report = found.report()
    assert report.least is None
    assert report.told == (
        f"To keep to its minutes the search had {rounds} rounds of configurations instead of 10, 1 finalist "
        "instead of 2, 2 seeds instead of 3; its trainings took 9.33 minutes, of 10 minutes allowed."
    )


@pytest.mark.parametrize(
    ("used", "told"),
    [(300.0, ""), (900.0, "The trainings of the search took 15 minutes, more than the 10 minutes allowed.")],
)
def test_a_search_as_asked_is_no_news_unless_it_took_longer(used: float, told: str, tmp_path: Path) -> None:
    found = budget(tmp_path, [])
    found.rounds(1, ended(0.5), begun=None)
    found.finals(ended(1.0))
    found.used = used
    assert found.report().told == told
    assert Outcomes(Workspace(tmp_path)).read(FINALS) is not None
