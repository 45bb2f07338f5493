"""What a diagnosis asks of each task, against naive computations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from paired_arrays import in_splits, paired_dataset
from sklearn.linear_model import LogisticRegression, Ridge

from fdkd_core.data.table import PairedDataset, TargetScale
from fdkd_core.diagnosis.one_vs_rest import OneVsRestProbe, fit_one_vs_rest, linear_scores
from fdkd_core.diagnosis.tasks import DIAGNOSED, diagnosed
from fdkd_core.diagnosis.tasks.ranges import ranges
from fdkd_core.spec import DiagnoseSpec
from fdkd_core.spec.tasks import MultilabelSpec, RegressionSpec
from fdkd_core.tasks.multilabel import average_precision

ROWS = np.arange(200)


def inputs(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(200, 6))


def multilabel() -> PairedDataset:
    """Three classes, the third the rarest; which they are is seen in the first inputs."""
    x = inputs()
    labels = (x[:, :3] + 0.3 * inputs(1)[:, :3] > [0.0, 0.5, 1.0]).astype(np.float32)
    data = paired_dataset(x, x, np.zeros(200, np.int64), in_splits(100, 60, 40))
    return replace(data, labels=labels, classes=["a", "b", "c"], task=MultilabelSpec())


def regression(numbers: int = 2) -> PairedDataset:
    x = inputs()
    labels = (x[:, :numbers] + 0.3 * inputs(1)[:, :numbers]).astype(np.float32)
    scale = TargetScale(("height", "width")[:numbers], np.full(numbers, 50.0), np.full(numbers, 4.0))
    data = paired_dataset(x, x, np.zeros(200, np.int64), in_splits(100, 60, 40))
    return replace(data, labels=labels, classes=[], task=RegressionSpec(), targets=scale)


def test_logistic_regressions_of_each_class_agree_with_scikit_learn() -> None:
    x, labels = inputs(), multilabel().labels.astype(np.float64)
    ours = linear_scores(x, fit_one_vs_rest(x, labels, 0.05))
    for c in range(3):
        theirs = LogisticRegression(C=1 / (200 * 0.05), tol=1e-8, max_iter=1000).fit(x, labels[:, c])
        assert np.allclose(ours[:, c], theirs.decision_function(x), atol=5e-3)


def test_their_penalty_grows_where_there_is_nothing_to_learn() -> None:
    labels, rng = multilabel().labels.astype(np.float64), np.random.default_rng(0)
    assert OneVsRestProbe(inputs(), labels, rng).penalty < 0.1
    assert OneVsRestProbe(rng.normal(size=(200, 80)), labels, rng).penalty == 1.0


def test_a_probe_of_sets_answers_as_a_network_would() -> None:
    data = multilabel()
    task, fitted, asked = diagnosed(data), ROWS[:100], ROWS[100:160]
    found = task.probe(inputs()[fitted], fitted, inputs()[asked], np.random.default_rng(0), "mean_ap")
    assert found.shape == (60, 3)
    figures = task.task.metrics(found, data.labels[asked])
    assert figures.mean_ap > 0.8
    assert figures.mean_ap > task.chance("mean_ap", fitted, asked) + 0.4


def test_chance_of_sets_is_the_best_that_needs_no_sample() -> None:
    data = multilabel()
    task, fitted, asked = diagnosed(data), ROWS[:100], ROWS[100:160]
    rate = data.labels[asked].mean(axis=0)
    flat = [average_precision(np.zeros(60), data.labels[asked][:, c] > 0.5) for c in range(3)]
    assert flat == pytest.approx(rate.tolist())
    assert task.chance("mean_ap", fitted, asked) == pytest.approx(rate.mean())
    # Saying yes to everything has F1 2 p / (1 + p) of each class.
    assert task.chance("macro_f1", fitted, asked) == pytest.approx((2 * rate / (1 + rate)).mean())
    sets, counts = np.unique(data.labels[fitted], axis=0, return_counts=True)
    most = sets[counts.argmax()]
    hits = (data.labels[asked] == most).all(axis=1).mean()
    assert task.chance("exact_match", fitted, asked) == pytest.approx(hits)


def test_rare_sets_go_with_their_commonest_class() -> None:
    sets = [[1, 1, 0, 0]] * 9 + [[0, 1, 0, 0]] * 6 + [[0, 0, 0, 0]] * 5 + [[0, 1, 1, 0]] * 2
    sets += [[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 0, 1]]
    rows = np.arange(len(sets))
    data = replace(multilabel(), labels=np.array(sets, dtype=np.float32))
    strata = diagnosed(data).strata(rows)
    alike = [rows[strata == one].tolist() for one in dict.fromkeys(strata.tolist())]
    # Class 1 is the commonest, class 0 comes next; of class 3 alone there is one.
    assert alike == [list(range(9)), list(range(9, 15)), list(range(15, 20)), [20, 21, 22], [23], [24]]
    assert diagnosed(data).blank_labels(rows) == 5


@pytest.mark.parametrize("numbers", [1, 2])
def test_ranges_are_narrow_and_keep_equal_numbers_together(numbers: int) -> None:
    values = np.random.default_rng(0).normal(size=(400, numbers))
    values[:40] = 0.25
    found = ranges(values)
    counts = np.bincount(found)
    assert counts.min() >= 15
    assert len(counts) >= 10
    assert len(set(found[:40].tolist())) == 1
    left = sum(values[found == one].var(axis=0).sum() * counts[one] for one in range(len(counts)))
    assert left < 0.2 * 400 * values.var(axis=0).sum()
    if numbers == 1:  # quantiles: no range lies within another
        order = found[values[:, 0].argsort(kind="stable")]
        assert (np.diff(order) != 0).sum() == len(counts) - 1
    assert set(ranges(np.ones((50, numbers)))) == {0}
    assert ranges(np.zeros((0, numbers))).tolist() == []


def test_a_probe_of_numbers_is_ridge_regression() -> None:
    data = regression()
    task, fitted, asked = diagnosed(data), ROWS[:100], ROWS[100:160]
    found = task.probe(inputs()[fitted], fitted, inputs()[asked], np.random.default_rng(0), "r2")
    theirs = Ridge(alpha=1e-3).fit(inputs()[fitted], data.labels[fitted]).predict(inputs()[asked])
    assert np.abs(found - theirs).max() < 0.1
    assert task.task.metrics(found, data.labels[asked]).r2 > 0.85


def test_chance_of_numbers_is_their_mean_or_median() -> None:
    data = regression(1)
    skewed = np.exp(1.5 * data.labels)
    data = replace(data, labels=skewed.astype(np.float32))
    task, fitted, asked = diagnosed(data), ROWS[:100], ROWS[100:]
    known, actual = data.labels[fitted][:, 0], data.labels[asked][:, 0]
    errors = {name: 4.0 * np.abs(actual - at(known)).mean() for name, at in
              (("mean", np.mean), ("median", np.median))}  # fmt: skip
    assert errors["median"] < errors["mean"]
    assert task.chance("mae", fitted, asked) == pytest.approx(errors["median"], rel=1e-5)
    assert -0.2 < task.chance("r2", fitted, asked) < 0.0


@pytest.mark.parametrize(
    ("data", "select_by", "metric"),
    [
        (multilabel, "loss", "mean_ap"), (multilabel, None, "mean_ap"), (multilabel, "macro_f1", "macro_f1"),
        (regression, "rmse", "rmse"), (regression, "loss", "r2"),
    ],
)  # fmt: skip
def test_the_figure_is_what_picks_the_weights_unless_that_is_a_loss(
    data: Any, select_by: Any, metric: str
) -> None:
    assert diagnosed(data()).metric(select_by) == metric


def test_a_choice_of_rows_keeps_the_shares_of_what_is_alike() -> None:
    data = regression(1)
    chosen = diagnosed(data).choose(ROWS[:160], 40, np.random.default_rng(0))
    assert len(chosen) == 40
    assert chosen.max() < 160
    for quantile in (0.25, 0.5, 0.75):
        bound = np.quantile(data.labels[:160], quantile)
        assert (data.labels[chosen] <= bound).mean() == pytest.approx(quantile, abs=0.06)


def test_every_task_that_may_be_diagnosed_has_its_line() -> None:
    schema = DiagnoseSpec.model_json_schema()
    assert set(DIAGNOSED) <= set(schema["properties"]["task"]["discriminator"]["mapping"])
