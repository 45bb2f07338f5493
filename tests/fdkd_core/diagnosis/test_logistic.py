from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fdkd_core.diagnosis.logistic import LogisticProbe, class_weights, fit_logistic, log_probabilities


def problem(rows: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.choice(3, rows, p=[0.6, 0.3, 0.1])
    return rng.normal(size=(3, 5))[labels] + rng.normal(size=(rows, 5)), labels


@pytest.mark.parametrize("penalty", [1e-2, 1.0])
@pytest.mark.parametrize("is_balanced", [False, True])
def test_agrees_with_scikit_learn(penalty: float, is_balanced: bool) -> None:
    x, labels = problem()
    weights_N = class_weights(labels) if is_balanced else np.ones(len(labels))
    ours = np.exp(log_probabilities(x, fit_logistic(x, labels, 3, penalty, weights_N)))
    theirs = LogisticRegression(
        C=1 / (len(x) * penalty), tol=1e-8, max_iter=1000, class_weight="balanced" if is_balanced else None
    ).fit(x, labels)
    assert np.allclose(ours, theirs.predict_proba(x), atol=2e-3)


def test_class_weights_give_every_class_the_same_sum_and_have_mean_one() -> None:
    labels = np.array([0, 0, 0, 2])
    weights = class_weights(labels)
    assert weights[:3].sum() == pytest.approx(weights[3])
    assert weights.mean() == pytest.approx(1.0)


def test_the_penalty_grows_where_there_is_nothing_to_learn() -> None:
    x, labels = problem()
    rng = np.random.default_rng(1)
    assert LogisticProbe(x, labels, 3, rng).penalty < 0.1
    assert LogisticProbe(rng.normal(size=(120, 60)), labels, 3, rng).penalty == 1.0


def test_a_class_that_was_never_seen_is_never_answered() -> None:
    x, labels = problem()
    scores = LogisticProbe(x, np.minimum(labels, 1), 3, np.random.default_rng(2)).scores(x)
    assert scores.shape == (120, 3)
    assert set(scores.argmax(axis=1)) <= {0, 1}
