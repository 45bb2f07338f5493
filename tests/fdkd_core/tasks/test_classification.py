from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss

from fdkd_core.spec.measures import MEASURES
from fdkd_core.tasks.classification import Classification, macro_f1, split_metrics


@pytest.mark.parametrize("seed", range(5))
def test_metrics_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(40, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 40)
    found = split_metrics(logits, labels)
    exact = np.exp(logits.astype(np.float64))
    assert found.accuracy == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    assert found.macro_f1 == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
    assert found.loss == pytest.approx(log_loss(labels, exact / exact.sum(1, keepdims=True), labels=range(4)))
    assert found.num_samples == 40


def test_macro_f1_counts_a_class_that_is_only_predicted() -> None:
    # Class 0: 2*1/(1+2); class 1: 0.
    assert macro_f1(np.array([0, 1]), np.array([0, 0])) == pytest.approx((2 / 3 + 0) / 2)


def test_extreme_logits_stay_finite() -> None:
    found = split_metrics(np.array([[1e30, -1e30]], np.float32), np.array([0]))
    assert found.loss == 0.0


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_shares_add_up_to_the_figure(metric: str) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 3, 50)
    task = Classification()
    expected = MEASURES[metric].signed(getattr(task.metrics(logits, labels), metric))
    assert task.shares(metric, logits, labels).mean() == pytest.approx(expected)


def test_the_loss_is_the_one_that_is_reported() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 3, 20)
    task = Classification()
    trained = task.loss(torch.from_numpy(logits), torch.from_numpy(labels)).mean()
    assert float(trained) == pytest.approx(task.metrics(logits, labels).loss)
