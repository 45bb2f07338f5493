from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, log_loss

from fdkd_core.spec.measures import MEASURES
from fdkd_core.spec.tasks import MultilabelSpec
from fdkd_core.tasks.multilabel import Multilabel, average_precision, precision_influence

TASK = Multilabel(MultilabelSpec())
METRICS = TASK.facts.metrics


def sample(seed: int, rows: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Scores that know something, with ties, and labels of which some rows have none."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, classes)) < [0.5, 0.3, 0.1, 0.6]).astype(np.float32)
    scores = np.round(labels + rng.normal(size=labels.shape) - 0.5, 1).astype(np.float32)
    return scores, labels


@pytest.mark.parametrize("seed", range(5))
def test_metrics_agree_with_scikit_learn(seed: int) -> None:
    scores, labels = sample(seed)
    found, predicted = TASK.metrics(scores, labels), scores >= 0.0
    probabilities = 1.0 / (1.0 + np.exp(-scores.astype(np.float64)))
    assert found.mean_ap == pytest.approx(average_precision_score(labels, scores, average="macro"))
    assert found.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found.micro_f1 == pytest.approx(f1_score(labels, predicted, average="micro"))
    assert found.exact_match == (predicted == labels).all(axis=1).mean()
    expected = sum(log_loss(labels[:, c], probabilities[:, c]) for c in range(4))
    assert found.loss == pytest.approx(expected)
    assert found.num_samples == 60


def test_metrics_by_hand() -> None:
    # Class 0: scores 3, 2, 1 of which the first and the last have it: precisions 1 and 2/3.
    # Class 1: nobody has it, one is predicted to. Class 2: nobody has it, nobody is predicted to.
    scores = np.array([[3.0, -1.0, -1.0], [2.0, -1.0, -1.0], [1.0, 1.0, -1.0]], np.float32)
    labels = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], np.float32)
    found = TASK.metrics(scores, labels)
    assert found.mean_ap == pytest.approx((1 + 2 / 3) / 2)
    assert found.macro_f1 == pytest.approx((2 * 2 / (3 + 2) + 0.0) / 2)
    assert found.micro_f1 == pytest.approx(2 * 2 / (4 + 2))
    assert found.exact_match == pytest.approx(1 / 3)


def test_nothing_to_find_and_nothing_found() -> None:
    found = TASK.metrics(np.full((3, 2), -1.0, np.float32), np.zeros((3, 2), np.float32))
    assert (found.mean_ap, found.macro_f1, found.micro_f1, found.exact_match) == (0.0, 0.0, 0.0, 1.0)
    for name in METRICS:
        assert np.isfinite(TASK.shares(name, np.full((3, 2), -1.0, np.float32), np.zeros((3, 2)))).all()


def test_the_threshold_is_a_probability() -> None:
    scores, labels = np.array([[1.0, 2.0]], np.float32), np.array([[0.0, 1.0]], np.float32)
    assert TASK.metrics(scores, labels).exact_match == 0.0
    assert Multilabel(MultilabelSpec(threshold=0.8)).metrics(scores, labels).exact_match == 1.0


def test_the_influence_is_the_derivative_of_average_precision() -> None:
    scores, labels = sample(3)
    actual = labels[:, 1] > 0.5
    found = precision_influence(scores[:, 1], actual)
    assert found.mean() == pytest.approx(0.0, abs=1e-12)
    base, copies = average_precision(scores[:, 1], actual), 400
    for row in range(0, 60, 7):
        # Each sample many times over, so that one more of one of them is a small step.
        more = [np.append(np.repeat(part, copies), part[row]) for part in (scores[:, 1], actual)]
        change = (average_precision(*more) - base) * 60 * copies
        assert change == pytest.approx(found[row], rel=1e-2, abs=1e-2)


@pytest.mark.parametrize("metric", METRICS)
def test_the_standard_errors_are_those_of_resampling(metric: str) -> None:
    scores, labels = sample(1, rows=400)
    shares = TASK.shares(metric, scores, labels)
    rng = np.random.default_rng(2)
    draws = [rng.integers(0, 400, 400) for _ in range(400)]
    found = [getattr(TASK.metrics(scores[draw], labels[draw]), metric) for draw in draws]
    assert shares.std() / 20 == pytest.approx(np.std(found), rel=0.15)


@pytest.mark.parametrize("metric", ["exact_match", "loss"])
def test_shares_add_up_to_the_figure(metric: str) -> None:
    scores, labels = sample(4)
    expected = MEASURES[metric].signed(getattr(TASK.metrics(scores, labels), metric))
    assert TASK.shares(metric, scores, labels).mean() == pytest.approx(expected)


def test_the_loss_is_the_one_that_is_reported() -> None:
    scores, labels = sample(0)
    trained = TASK.loss(torch.from_numpy(scores), torch.from_numpy(labels)).mean()
    assert float(trained) == pytest.approx(TASK.metrics(scores, labels).loss)


def test_scores_must_be_finite() -> None:
    with pytest.raises(FloatingPointError):
        TASK.metrics(np.array([[np.nan]], np.float32), np.array([[1.0]], np.float32))
