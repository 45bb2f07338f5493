"""A regularised linear classifier of sets: one logistic regression for each class against the rest.

Shape legend: N rows, P predictors, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fdkd_core.diagnosis.logistic import choose_penalty, minimise, scale_of
from fdkd_core.diagnosis.products import Matrix, product
from fdkd_core.diagnosis.sample import Rows


class OneVsRestProbe:
    """Logistic regressions with one penalty, which cross-validation over the fitted rows chose.

    Args:
        predictors_NP: Rows to fit.
        hot_NC: Which classes each has, zeros and ones.
        rng: Of the folds.
    """

    def __init__(self, predictors_NP: Matrix, hot_NC: Matrix, rng: np.random.Generator) -> None:
        self._scale = scale_of(predictors_NP)
        scaled = predictors_NP / self._scale

        def fit(rows: Rows, penalty: float, start: Matrix | None) -> Matrix:
            return fit_one_vs_rest(scaled[rows], hot_NC[rows], penalty, start=start)

        def loss(rows: Rows, weights: Matrix) -> float:
            scores_NC = linear_scores(scaled[rows], weights)
            return float((np.logaddexp(0.0, scores_NC) - hot_NC[rows] * scores_NC).sum())

        self.penalty = choose_penalty(len(scaled), rng, fit, loss)
        self._weights = fit_one_vs_rest(scaled, hot_NC, self.penalty)

    def scores(self, predictors_MP: Matrix) -> Matrix:
        """Scores before the sigmoid, [M, C]."""
        return linear_scores(predictors_MP / self._scale, self._weights)


def fit_one_vs_rest(
    predictors_NP: Matrix, hot_NC: Matrix, penalty: float, *, start: Matrix | None = None
) -> Matrix:
    """Weights [P + 1, C]: each column minimises mean binary cross-entropy + penalty / 2 * ||w||².

    The last row is the bias, which is not penalised. scikit-learn's C is 1 / (N * penalty). `start` is where
    to begin.
    """
    num_rows = len(predictors_NP)
    x_NP, y_NC = torch.from_numpy(predictors_NP), torch.from_numpy(hot_NC)

    def objective(weights: Tensor) -> tuple[Tensor, Tensor]:
        scores_NC = torch.addmm(weights[-1], x_NP, weights[:-1])
        error_NC = (torch.sigmoid(scores_NC) - y_NC) / num_rows
        slopes = penalty * weights
        slopes[-1] = error_NC.sum(dim=0)
        slopes[:-1] += x_NP.T @ error_NC
        loss_NC = torch.nn.functional.softplus(scores_NC) - y_NC * scores_NC
        return 0.5 * penalty * weights[:-1].square().sum() + loss_NC.sum() / num_rows, slopes

    shape = (predictors_NP.shape[1] + 1, hot_NC.shape[1])
    return minimise(objective, np.zeros(shape) if start is None else start, num_rows)


def linear_scores(predictors_NP: Matrix, weights: Matrix) -> Matrix:
    """X W + b, [N, C]."""
    found: Matrix = product(predictors_NP, weights[:-1]) + weights[-1]
    return found
