"""What a diagnosis asks of each task, against naive computations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from paired_arrays import in_splits, paired_dataset
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge

from fdkd_core.data.table import PairedDataset, TargetScale
from fdkd_core.diagnosis.discriminants import fit_discriminants
from fdkd_core.diagnosis.one_vs_rest import OneVsRestProbe, fit_one_vs_rest, linear_scores
from fdkd_core.diagnosis.places import as_rows, at_places, draw_places, surroundings
from fdkd_core.diagnosis.tasks import DIAGNOSED, diagnosed
from fdkd_core.diagnosis.tasks.ranges import ranges
from fdkd_core.spec import DiagnoseSpec
from fdkd_core.spec.tasks import (
    VOID,
    ClassificationSpec,
    MultilabelSpec,
    RegressionSpec,
    RetrievalSpec,
    SegmentationSpec,
)
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
    assert set(DIAGNOSED) == set(schema["properties"]["task"]["discriminator"]["mapping"])


def retrieval(labels: np.ndarray) -> PairedDataset:
    x = np.zeros((len(labels), 6))
    return replace(paired_dataset(x, x, labels, in_splits(len(labels), 0, 0)), task=RetrievalSpec())


def vectors(labels: np.ndarray) -> PairedDataset:
    """A vector of two numbers for each of some labels."""
    found = np.random.default_rng(5).normal(size=(labels.max() + 1, 2))[labels].astype(np.float32)
    scale = TargetScale(("x", "y"), np.array([3.0, -1.0]), np.array([1.0, 2.0]))
    return replace(
        retrieval(labels), labels=found, task=RetrievalSpec(relevant="pair"), targets=scale, classes=[]
    )


def test_rows_of_one_label_are_not_independent_where_they_find_each_other() -> None:
    data = retrieval(np.array([5, 5, 3, 3]))
    rows = np.array([0, 2, 3])
    assert diagnosed(data).clusters(rows).tolist() == [5, 3, 3]
    voices = replace(data, groups=np.array([1, 1, 1, 2]))
    assert diagnosed(voices).clusters(rows).tolist() == [1, 1, 2]
    classes = replace(data, task=ClassificationSpec())
    assert diagnosed(classes).clusters(rows) is None
    assert diagnosed(replace(voices, task=ClassificationSpec())).clusters(rows).tolist() == [1, 1, 2]


@pytest.mark.parametrize("metric", ["recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank"])
@pytest.mark.parametrize("make", [retrieval, vectors])
def test_chance_of_a_search_is_the_mean_over_random_orders(make: Any, metric: Any) -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2] * 2 + [3, 4])
    data, rng = make(labels), np.random.default_rng(0)
    task, rows = diagnosed(data), np.arange(len(labels))
    found = [
        getattr(task.task.metrics(rng.normal(size=(13, 2 if make is vectors else 40)).astype(np.float32),
                                  data.labels), metric)
        for _ in range(600)
    ]  # fmt: skip
    if make is vectors:  # whose directions are not spread evenly: by hand, one right of five
        known = {"recall_at_1": 1 / 5, "recall_at_5": 1.0, "recall_at_10": 1.0}
        known["mean_reciprocal_rank"] = sum(1 / rank for rank in range(1, 6)) / 5
        assert task.chance(metric, rows, rows) == pytest.approx(known[metric])
    else:
        assert task.chance(metric, rows, rows) == pytest.approx(np.mean(found), abs=0.015)


def test_whole_labels_are_chosen_where_there_are_many() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(300), 4))
    task = diagnosed(retrieval(labels))
    chosen = task.choose(np.arange(1200), 100, rng)
    assert (np.diff(chosen) > 0).all()
    assert np.unique(labels[chosen], return_counts=True)[1].tolist() == [4] * 25
    few = diagnosed(retrieval(np.arange(1200) % 3))
    assert np.bincount(few.labels(few.choose(np.arange(1200), 99, rng))).tolist() == [33, 33, 33]


def test_there_is_no_null_within_labels_that_hardly_two_rows_share() -> None:
    rows = np.arange(40)
    assert diagnosed(retrieval(rows)).within(rows) is None
    assert diagnosed(vectors(rows)).within(rows) is None
    shared = np.arange(40) // 2
    for make in (retrieval, vectors):
        strata = diagnosed(make(shared)).within(rows)
        assert strata is not None
        assert (strata[::2] == strata[1::2]).all()
        assert len(set(strata.tolist())) == 20
    assert diagnosed(retrieval(rows)).targets(rows).tolist() == [[0.0]] * 40
    assert diagnosed(retrieval(shared)).targets(rows).sum(axis=0).tolist() == [2.0] * 20


def noisy_labels(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels told by four of eight numbers, of which three others are ten times as loud."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count), 5)
    x = 0.2 * rng.normal(size=(len(labels), 8))
    x[:, :4] += rng.normal(size=(count, 4))[labels]
    x[:, 5:] += 10.0 * rng.normal(size=(len(labels), 3))
    return x, labels


def test_discriminants_are_those_of_scikit_learn_weighed() -> None:
    x, labels = noisy_labels(30, 0)
    mean, axes = fit_discriminants(x, labels, 0.0)
    ours = (x - mean) @ axes
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(x, labels).transform(x)
    for place in range(4):
        correlation = np.corrcoef(ours[:, -1 - place], theirs[:, place])[0, 1]
        assert abs(correlation) > 0.999
    # What differs as much within a label counts for little.
    assert ours[:, :-4].std(axis=0).mean() < 0.1 * ours[:, -4:].std(axis=0).min()


@pytest.mark.parametrize("count", [30, 4])
def test_a_probe_finds_rows_of_labels_that_it_has_not_seen(count: int) -> None:
    x, labels = noisy_labels(count, 1)
    new, new_labels = noisy_labels(12, 2)
    data = retrieval(np.concatenate([labels, new_labels + count]))
    task, fitted = diagnosed(data), np.arange(len(labels))
    asked = np.arange(len(labels), len(data.labels))
    found = task.probe(x, fitted, new, np.random.default_rng(0), "recall_at_1")
    figures = task.task.metrics(found, data.labels[asked])
    raw = task.task.metrics(new.astype(np.float32), data.labels[asked])
    assert figures.recall_at_1 > raw.recall_at_1 + (0.25 if count == 30 else 0.1)


def test_a_probe_of_vectors_predicts_them_in_their_unit() -> None:
    data = vectors(np.arange(200))
    task, fitted, asked = diagnosed(data), ROWS[:150], ROWS[150:]
    x = data.labels.astype(np.float64) @ np.random.default_rng(0).normal(size=(2, 6))
    found = task.probe(x[fitted], fitted, x[asked], np.random.default_rng(0), "recall_at_1")
    assert data.targets is not None
    assert np.allclose(found, data.targets.in_own_units(data.labels[asked]), atol=0.02)


def segmentation() -> PairedDataset:
    """Forty masks of 6 x 9 pixels, of three classes and void."""
    rng = np.random.default_rng(0)
    masks = rng.choice(np.array([0, 1, 2, VOID], np.uint8), (40, 6, 9), p=[0.5, 0.3, 0.1, 0.1])
    masks[3], masks[4], masks[7] = 1, VOID, masks[6]
    data = paired_dataset(np.zeros((40, 6)), np.zeros((40, 6)), np.zeros(40, np.int64), in_splits(20, 20, 0))
    return replace(data, labels=masks, classes=["a", "b", "c"], task=SegmentationSpec())


def test_chance_of_masks_is_the_class_of_most_pixels() -> None:
    data = segmentation()
    task, fitted, asked = diagnosed(data), np.arange(20), np.arange(20, 40)
    maps = np.zeros((20, 3, 6, 9), np.float32)
    maps[:, 0] = 1.0
    masks = data.labels[asked]
    figures = task.task.metrics(task.task.answers(maps, masks), masks)
    for metric in ("mean_iou", "mean_pixel_accuracy", "pixel_accuracy"):
        assert task.chance(metric, fitted, asked) == pytest.approx(getattr(figures, metric))
    assert task.chance("mean_iou", fitted, asked) == pytest.approx(
        (masks == 0).sum() / (masks != VOID).sum() / 3
    )


def test_masks_are_told_apart_as_a_whole_and_by_shares() -> None:
    data = segmentation()
    task, rows = diagnosed(data), np.arange(40)
    marks = task.marks(rows)[:, 0]
    assert len(set(marks.tolist())) == 39
    assert marks[6] == marks[7]
    assert task.blank_labels(rows) == 2
    shares = task.targets(rows)
    labelled = data.labels[0][data.labels[0] != VOID]
    assert shares[0].tolist() == pytest.approx([(labelled == c).mean() for c in range(3)])
    assert shares[3].tolist() == [0.0, 1.0, 0.0]
    assert shares[4].tolist() == [0.0] * 3
    assert task.within(rows) is None


def test_places_have_a_label_and_are_as_many_as_asked() -> None:
    data, size = segmentation(), (3, 3)
    places = draw_places(np.arange(40), data.labels, size, 4, np.random.default_rng(0))
    for row, at, label in zip(*places, strict=True):
        # The middle of three cells of two and of three pixels.
        middle = data.labels[row, 2 * (at // 3) + 1, 3 * (at % 3) + 1]
        assert label == middle != VOID
    counts = np.bincount(places.rows, minlength=40)
    assert counts.max() == 4
    assert counts[4] == 0
    assert len({*zip(places.rows.tolist(), places.at.tolist(), strict=True)}) == len(places.rows)


def test_what_is_seen_around_a_place() -> None:
    pictures = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 4, 6)))
    found = surroundings(pictures, (4, 6))
    assert found.shape == (2, 75, 4, 6)
    # Five by five around row 1, column 2, of which one row lies beyond the edge.
    for channel in range(3):
        around = pictures[1, channel][[0, 0, 1, 2, 3]][:, 0:5].flatten().float()
        assert torch.equal(found[1, 25 * channel : 25 * channel + 25, 1, 2], around)
    rows = as_rows(found)
    assert np.array_equal(rows[24 + 8], at_places(found, np.array([1]), np.array([8]))[0])
    assert np.array_equal(rows[24 + 8], found[1, :, 1, 2].double().numpy())
