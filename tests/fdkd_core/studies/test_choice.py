"""Which trial of a study is taken."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from small_job import small_study, write_small_data

from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec.result import StudyResult
from fdkd_core.studies.choice import choose
from fdkd_core.studies.console import show_study

OPTIONS = RunOptions(device="cpu", threads=1)
ROWS = 100


def right(*blocks: tuple[int, int]) -> np.ndarray:
    """1 for the rows of the blocks, which a student gets right."""
    shares = np.zeros(ROWS)
    for start, end in blocks:
        shares[start:end] = 1.0
    return shares


def test_the_error_is_that_of_the_difference_row_by_row() -> None:
    # 4 rows more and none less: the mean difference is .04, its error sqrt(.04 * .96 / 99) = .0197.
    found = choose([0.6, 0.64], {0: right((0, 60)), 1: right((0, 64))}, None, "accuracy", best=False)
    assert found.index == 1
    assert found.reason == (
        "The best on validation, ahead of the spec as stated by more than noise: +4.0 points of validation "
        "accuracy (standard error 2)."
    )
    # The same 4 rows as 24 more and 20 less: the error is sqrt((.44 - .04^2) / 99) = .0665.
    found = choose([0.6, 0.64], {0: right((0, 60)), 1: right((20, 84))}, None, "accuracy", best=False)
    assert found.index == 0
    assert found.reason == (
        "As stated: the best on validation is ahead of it by no more than noise, +4.0 points of validation "
        "accuracy (standard error 6.7)."
    )
    found = choose([0.6, 0.64], {0: right((0, 60)), 1: right((20, 84))}, None, "accuracy", best=True)
    assert found.index == 1


@pytest.mark.parametrize("rows", [20, 33, 100, 353])
def test_a_single_row_more_is_no_reason(rows: int) -> None:
    """It is ahead by exactly its error, whichever way that is rounded."""
    for behind in range(rows - 1):
        stated, other = (np.arange(rows) < behind).astype(float), (np.arange(rows) <= behind).astype(float)
        values = [stated.mean(), other.mean()]
        assert choose(values, {0: stated, 1: other}, None, "accuracy", best=False).index == 0


def test_rows_of_one_person_count_once() -> None:
    """Five people of 20 rows; all that is gained is gained with one of them."""
    shares = {0: right((0, 60)), 1: right((3, 75))}
    people = np.repeat(np.arange(5), 20)
    assert choose([0.6, 0.72], shares, None, "accuracy", best=False).index == 1
    assert choose([0.6, 0.72], shares, people, "accuracy", best=False).index == 0


@pytest.mark.parametrize("best", [False, True])
def test_what_leaves_nothing_to_weigh(best: bool) -> None:
    def index_of(values: list[float], shares: dict[int, np.ndarray]) -> int:
        return choose(values, shares, None, "accuracy", best=best).index

    one, other = right((0, 50)), right((50, 100))
    assert index_of([0.5], {0: one}) == 0
    assert index_of([0.5, 0.5], {0: one, 1: other}) == 0, "the earlier of equals"
    assert index_of([0.5, 0.4], {0: one, 1: other}) == 0
    assert index_of([-math.inf, 0.1, 0.2], {1: one, 2: other}) == 2, "what was stated diverged"
    assert index_of([0.5, -math.inf], {0: one}) == 0


def test_of_several_that_are_ahead_the_best_is_taken() -> None:
    shares = {0: right((0, 40)), 1: right((0, 60)), 2: right((0, 80))}
    assert choose([0.4, 0.6, 0.8], shares, None, "accuracy", best=False).index == 2


def test_errors_are_told_in_the_figures_own_units() -> None:
    shares = {0: np.zeros(ROWS), 1: np.linspace(-0.02, 0.06, ROWS)}
    found = choose([-1.0, -0.98], shares, None, "rmse", best=False)
    assert found.index == 1
    assert "+0.02 in validation RMSE, turned so that more is better (standard error" in found.reason


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small.npz")


def study(data: Path, out: Path, lr: float, choose_by: str) -> StudyResult:
    spec = small_study(
        method={"name": "none"},
        training={**small_study().training.model_dump(), "optimizer": {"name": "sgd", "lr": lr}},
        tuning={"trials": 3, "lr": {"low": 0.05, "high": 0.2}, "choose": choose_by},
    )
    result = run(spec, data, out, options=OPTIONS)
    assert isinstance(result, StudyResult)
    return result


def test_a_study_leaves_a_rate_that_does_not_learn(data: Path, tmp_path: Path) -> None:
    result = study(data, tmp_path / "out", 1e-6, "beyond_noise")
    assert result.lr > 0.01
    assert "by more than noise" in result.chosen
    assert (
        "ahead of the spec as stated by more than noise" in (tmp_path / "out/student/README.md").read_text()
    )


def test_a_study_keeps_a_rate_that_does(data: Path, tmp_path: Path) -> None:
    kept = study(data, tmp_path / "kept", 0.1, "beyond_noise")
    assert kept.lr == 0.1
    assert kept.chosen.startswith("As stated")
    shown = io.StringIO()
    show_study(Console(file=shown, width=200), kept, tmp_path)
    assert f"tuned in 3 trials: lr=0.1. {kept.chosen}" in shown.getvalue()


def test_noise_is_that_of_groups_unless_the_best_is_asked_for(data: Path, tmp_path: Path) -> None:
    """A trial that wins some classes and loses others, of data whose groups are the classes."""
    with np.load(data) as found:
        arrays = dict(found)
    groups = np.array(
        [f"{split}-{label}" for split, label in zip(arrays["split"], arrays["label"], strict=True)]
    )
    np.savez(tmp_path / "grouped.npz", **arrays, group=groups)
    of_rows = study(data, tmp_path / "rows", 0.05, "beyond_noise")
    of_groups = study(tmp_path / "grouped.npz", tmp_path / "groups", 0.05, "beyond_noise")
    best = study(tmp_path / "grouped.npz", tmp_path / "best", 0.05, "best")
    assert of_rows.lr == best.lr > 0.05
    assert of_groups.lr == 0.05
    assert "by no more than noise" in of_groups.chosen
