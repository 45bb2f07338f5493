"""The promise: never worse than the tuned control beyond noise."""

from __future__ import annotations

import numpy as np
import pytest

from fdkd_core.studies.decision import Scores, decide, difference


def scores(label: str, accuracies: list[float], rows: int = 100, seed: int = 0) -> Scores:
    """Runs that are right on the first rows, up to their accuracy: no disagreement that need not be."""
    shares = [(np.arange(rows) < round(accuracy * rows)).astype(np.float64) for accuracy in accuracies]
    return Scores(label, accuracies, shares)


CONTROL = scores("no_teacher", [0.70, 0.72, 0.71])


def test_the_error_of_a_difference_by_hand() -> None:
    found = difference(scores("kd", [0.80, 0.84, 0.79]), CONTROL)
    assert found.mean == pytest.approx(0.10)
    over_seeds = np.std([0.10, 0.12, 0.08], ddof=1) / np.sqrt(3)
    # Mean over seeds of kd - control, row by row: 0 up to row 70, then on the way from none to all and back.
    kd = np.mean([np.arange(100) < n for n in (80, 84, 79)], axis=0)
    control = np.mean([np.arange(100) < n for n in (70, 72, 71)], axis=0)
    over_rows = np.std(kd - control, ddof=1) / 10
    assert found.standard_error == pytest.approx(np.hypot(over_seeds, over_rows))


def test_a_method_beyond_the_noise_wins() -> None:
    winner, reason = decide([CONTROL, scores("kd", [0.80, 0.84, 0.79])], "accuracy")
    assert winner == 1
    assert reason.startswith("kd is ahead of the tuned control by +10.0 points of validation accuracy")
    assert "over 3 fresh seeds" in reason


@pytest.mark.parametrize(
    "values",
    [
        [0.70, 0.72, 0.71],  # a tie
        [0.60, 0.62, 0.61],  # worse
        [0.66, 0.80, 0.69],  # better, by one lucky seed
    ],
)
def test_what_is_not_beyond_the_noise_gives_way_to_the_control(values: list[float]) -> None:
    winner, reason = decide([CONTROL, scores("kd", values)], "accuracy")
    assert winner == 0
    assert "the student is the control's" in reason
    assert "The best, kd, is at" in reason


def test_a_teacher_behind_the_control_has_to_show_twice_as_much() -> None:
    """More than one standard error of folds and less than two, as it was where the promise was broken."""
    folds = "5 folds of 15 groups"
    control = Scores("no_teacher", [0.80, 0.70, 0.75, 0.85, 0.78], [], folds)
    method = Scores("kd", [0.86, 0.68, 0.83, 0.90, 0.79], [], folds)
    found = difference(method, control)
    assert 1.0 < found.mean / found.standard_error < 2.0
    assert decide([control, method], "accuracy")[0] == 1
    winner, reason = decide([control, method], "accuracy", is_teacher_behind=True)
    assert winner == 0
    assert "by more than twice the noise, as is asked where the teacher does worse on validation" in reason
    clear = Scores("kd", [0.90, 0.78, 0.86, 0.94, 0.89], [], folds)
    assert decide([control, clear], "accuracy", is_teacher_behind=True)[0] == 1


def test_folds_that_agree_to_the_row_are_luck_and_not_certainty() -> None:
    """One row more in each of two folds of 24: no spread, up to rounding."""
    folds = "2 folds of 4 groups"
    control = Scores("no_teacher", [16 / 24, 17 / 24], [], folds)
    assert decide([control, Scores("kd", [17 / 24, 18 / 24], [], folds)], "accuracy")[0] == 0
    assert decide([control, Scores("kd", [19 / 24, 18 / 24], [], folds)], "accuracy")[0] == 1


def test_the_best_of_those_that_earned_it_wins() -> None:
    """Not the one with the best mean, if that is noise."""
    noisy, steady = scores("noisy", [0.70, 0.99, 0.71]), scores("steady", [0.76, 0.79, 0.77])
    assert noisy.mean > steady.mean
    assert decide([CONTROL, noisy, steady], "accuracy")[0] == 2


def test_one_that_diverged_is_out() -> None:
    out = Scores("out", [], [])
    assert decide([CONTROL, out, scores("kd", [0.80, 0.84, 0.79])], "accuracy")[0] == 2
    winner, reason = decide([CONTROL, out], "accuracy")
    assert winner == 0
    assert "No method came through" in reason


def test_useless_methods_rarely_win_and_never_by_much() -> None:
    """Luck of seeds and rows, simulated: students as good as the control, then slightly worse ones."""
    rng = np.random.default_rng(0)

    def draw(skill: np.ndarray, label: str) -> Scores:
        shares = [(rng.random(len(skill)) < skill).astype(np.float64) for _ in range(3)]
        return Scores(label, [float(found.mean()) for found in shares], shares)

    def won(worse: float) -> float:
        wins = 0
        for _ in range(400):
            skill = np.clip(rng.normal(0.75, 0.3, 200), 0.02, 0.98)
            rivals = [draw(np.clip(skill - worse, 0.0, 1.0), f"kd{i}") for i in range(2)]
            wins += decide([draw(skill, "no_teacher"), *rivals], "accuracy")[0] != 0
        return wins / 400

    assert won(0.0) < 0.2
    assert won(0.03) < 0.05


@pytest.mark.parametrize("rows", [1, 2])
def test_a_row_or_two_that_agree_earn_nothing_however_seeds_differ(rows: int) -> None:
    """Two seeds of three are right where the control is wrong: beyond what seeds do, on these rows alone."""
    control, method = (
        Scores(label, values, [np.full(rows, value) for value in values])
        for label, values in (("no_teacher", [0.0, 0.0, 0.0]), ("kd", [1.0, 1.0, 0.0]))
    )
    winner, reason = decide([control, method], "accuracy")
    assert winner == 0
    assert "kd, is at +66.7 points of validation accuracy (of unknown noise: all that was measured" in reason
