from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from fdkd_core.data.table import TargetScale
from fdkd_core.models.mlp import MLP
from fdkd_core.spec.measures import MEASURES
from fdkd_core.spec.tasks import RegressionSpec
from fdkd_core.tasks.regression import Regression

SCALE = TargetScale(("height", "width"), np.array([1000.0, -3.0]), np.array([50.0, 0.1]))
TASK = Regression(RegressionSpec(), SCALE)


def sample(seed: int, rows: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Answers and labels on the scale of the training rows."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=(rows, 2)).astype(np.float32)
    return (labels + rng.normal(size=labels.shape) * [0.3, 0.8]).astype(np.float32), labels


@pytest.mark.parametrize("seed", range(3))
def test_metrics_agree_with_scikit_learn_in_the_units_of_the_data(seed: int) -> None:
    answers, labels = sample(seed)
    found = TASK.metrics(answers, labels)
    told, actual = SCALE.in_own_units(answers), SCALE.in_own_units(labels)
    assert found.mae == pytest.approx(mean_absolute_error(actual, told))
    assert found.rmse == pytest.approx(root_mean_squared_error(actual, told))
    assert found.r2 == pytest.approx(r2_score(actual, told))
    assert found.num_samples == 50


def test_metrics_by_hand() -> None:
    task = Regression(RegressionSpec(), TargetScale(("t",), np.array([10.0]), np.array([2.0])))
    # Errors of 1 and 0 standard deviations, which are 2 and 0; labels lie 2 to either side of their mean.
    found = task.metrics(np.array([[2.0], [-1.0]], np.float32), np.array([[1.0], [-1.0]], np.float32))
    assert (found.mae, found.rmse) == (1.0, pytest.approx(np.sqrt(2.0)))
    assert found.r2 == pytest.approx(1 - 2.0 / 4.0)
    assert found.loss == pytest.approx(0.25)


def test_labels_that_never_change_explain_nothing() -> None:
    found = TASK.metrics(np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32))
    assert found.r2 == 0.0
    for name in TASK.facts.metrics:
        assert np.isfinite(TASK.shares(name, np.ones((3, 2), np.float32), np.zeros((3, 2)))).all()


def test_nor_do_equal_labels_whose_mean_is_off_by_rounding() -> None:
    """0.7 in 40 rows: their mean in float64 is not 0.7, and R2 was -1e30."""
    answers, labels = sample(5, rows=40)
    labels[:, 1] = 0.7
    exact = labels.astype(np.float64) * SCALE.std
    assert exact.mean(axis=0)[1] != exact[0, 1]
    height = Regression(RegressionSpec(), TargetScale(("height",), SCALE.mean[:1], SCALE.std[:1]))
    found, alone = TASK.metrics(answers, labels), height.metrics(answers[:, :1], labels[:, :1])
    assert found.r2 == pytest.approx(alone.r2 / 2.0)
    expected = height.shares("r2", answers[:, :1], labels[:, :1]) / 2.0
    assert TASK.shares("r2", answers, labels) == pytest.approx(expected)


@pytest.mark.parametrize("metric", TASK.facts.metrics)
def test_the_standard_errors_are_those_of_resampling(metric: str) -> None:
    answers, labels = sample(1, rows=400)
    shares = TASK.shares(metric, answers, labels)
    rng = np.random.default_rng(2)
    draws = [rng.integers(0, 400, 400) for _ in range(500)]
    found = [getattr(TASK.metrics(answers[draw], labels[draw]), metric) for draw in draws]
    assert shares.std() / 20 == pytest.approx(np.std(found), rel=0.15)
    # More is better: a worse answer moves its own share down.
    worse = answers.copy()
    worse[0] += 5.0 * np.sign(worse[0] - labels[0])
    assert (TASK.shares(metric, worse, labels) - shares)[0] < 0.0


@pytest.mark.parametrize("metric", ["mae", "loss"])
def test_shares_add_up_to_the_figure(metric: str) -> None:
    answers, labels = sample(4)
    expected = MEASURES[metric].signed(getattr(TASK.metrics(answers, labels), metric))
    assert TASK.shares(metric, answers, labels).mean() == pytest.approx(expected)


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_the_loss_is_the_one_that_is_reported(loss: str) -> None:
    task = Regression(RegressionSpec(loss=loss, huber_delta=0.3), SCALE)
    answers, labels = sample(0)
    trained = task.loss(torch.from_numpy(answers), torch.from_numpy(labels)).mean()
    assert float(trained) == pytest.approx(task.metrics(answers, labels).loss)


def test_a_network_leaves_in_the_units_of_the_data_and_comes_back() -> None:
    torch.manual_seed(0)
    model = MLP(5, 2, 8, 1, 0.0).eval()
    before = copy.deepcopy(model.state_dict())
    inputs = torch.randn(20, 5)
    standardised = model(inputs).logits.detach().numpy()
    outside = TASK.in_own_units(model)
    np.testing.assert_allclose(
        outside(inputs).logits.detach().numpy(), SCALE.in_own_units(standardised), rtol=1e-6
    )
    np.testing.assert_allclose(TASK.standardised(outside)(inputs).logits.detach(), standardised, atol=1e-3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(outside(inputs).features, model(inputs).features)


def test_scores_must_be_finite() -> None:
    with pytest.raises(FloatingPointError):
        TASK.metrics(np.full((1, 2), np.inf, np.float32), np.zeros((1, 2), np.float32))
