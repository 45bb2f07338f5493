"""A regularised linear classifier: multinomial logistic regression.

Shape legend: N rows, P predictors, C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.diagnosis.products import Matrix, product
from fdkd_core.diagnosis.sample import Rows

PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.001)
"""Tried by cross-validation, each from where the stronger one before ended; of predictors of unit mean
variance. The strongest wins a tie."""
_FOLDS = 3
_MAX_ITERATIONS = 200
_MIN_ITERATIONS = 40
_PRODUCTS = 2e9
"""Multiply-adds of one fit, by which iterations are limited where classes are many: a few seconds."""


class LogisticProbe:
    """Linear classifier whose penalty was chosen by cross-validation over the rows it is fitted on.

    Args:
        predictors_NP: Rows to fit.
        labels_N: Class indexes in 0..C-1.
        num_classes: C.
        rng: Of the folds.
        is_balanced: Whether classes weigh the same, as in macro-F1, rather than rows, as in accuracy.
    """

    def __init__(
        self,
        predictors_NP: Matrix,
        labels_N: NDArray[np.int64],
        num_classes: int,
        rng: np.random.Generator,
        *,
        is_balanced: bool = False,
    ) -> None:
        weights_N = class_weights(labels_N) if is_balanced else np.ones(len(labels_N))
        self._scale = scale_of(predictors_NP)
        scaled = predictors_NP / self._scale

        def fit(rows: Rows, penalty: float, start: Matrix | None) -> Matrix:
            return fit_logistic(
                scaled[rows], labels_N[rows], num_classes, penalty, weights_N[rows], start=start
            )

        def loss(rows: Rows, weights: Matrix) -> float:
            log_p = log_probabilities(scaled[rows], weights)
            return -float((weights_N[rows] * log_p[np.arange(len(rows)), labels_N[rows]]).sum())

        self.penalty = choose_penalty(len(scaled), rng, fit, loss)
        self._weights = fit_logistic(scaled, labels_N, num_classes, self.penalty, weights_N)

    def scores(self, predictors_MP: Matrix) -> Matrix:
        """Log-probabilities [M, C]."""
        return log_probabilities(predictors_MP / self._scale, self._weights)


def scale_of(predictors_NP: Matrix) -> float:
    """What predictors are divided by, so that their mean variance is 1."""
    return max(float(np.sqrt(predictors_NP.var(axis=0).mean())), 1e-12)


def choose_penalty(
    num_rows: int,
    rng: np.random.Generator,
    fit: Callable[[Rows, float, Matrix | None], Matrix],
    loss: Callable[[Rows, Matrix], float],
) -> float:
    """The one of `PENALTIES` with the least loss over rows that were held out.

    Args:
        num_rows: Of the rows.
        rng: Of the folds.
        fit: From rows, a penalty and where to begin to weights.
        loss: From other rows and weights to their loss, added up.
    """
    losses = np.zeros(len(PENALTIES))
    for held_out in np.array_split(rng.permutation(num_rows), _FOLDS) if num_rows >= 2 * _FOLDS else []:
        fitted = np.setdiff1d(np.arange(num_rows), held_out)
        weights = None
        for place, penalty in enumerate(PENALTIES):
            weights = fit(fitted, penalty, weights)
            losses[place] += loss(held_out, weights)
    return PENALTIES[int(losses.argmin())]


def class_weights(labels_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """A weight for each row, of mean 1, that gives all classes the same sum."""
    counts = np.bincount(labels_N)
    found: NDArray[np.float64] = len(labels_N) / (np.count_nonzero(counts) * counts[labels_N])
    return found


def fit_logistic(
    predictors_NP: Matrix,
    labels_N: NDArray[np.int64],
    num_classes: int,
    penalty: float,
    weights_N: NDArray[np.float64],
    *,
    start: Matrix | None = None,
) -> Matrix:
    """Weights [P + 1, C] that minimise mean cross-entropy + penalty / 2 * ||W||²; the last row is the bias.

    The bias is not penalised. scikit-learn's C is 1 / (N * penalty). `weights_N` are those of the rows, and
    `start` is where to begin: at zeros, unless another penalty's weights are at hand.
    """
    num_rows, num_predictors = predictors_NP.shape
    x_NP, hot_NC = torch.from_numpy(predictors_NP), torch.from_numpy(np.eye(num_classes)[labels_N])
    hot_NC = hot_NC * torch.from_numpy(weights_N)[:, None]
    row_weights_N1 = torch.from_numpy(weights_N)[:, None]

    def objective(weights: Tensor) -> tuple[Tensor, Tensor]:
        log_p_NC = torch.log_softmax(torch.addmm(weights[-1], x_NP, weights[:-1]), dim=1)
        error_NC = (row_weights_N1 * log_p_NC.exp() - hot_NC) / num_rows
        slopes = penalty * weights
        slopes[-1] = error_NC.sum(dim=0)
        slopes[:-1] += x_NP.T @ error_NC
        loss: Tensor = 0.5 * penalty * weights[:-1].square().sum() - (hot_NC * log_p_NC).sum() / num_rows
        return loss, slopes

    shape = (num_predictors + 1, num_classes)
    return minimise(objective, np.zeros(shape) if start is None else start, num_rows)


def minimise(objective: Callable[[Tensor], tuple[Tensor, Tensor]], start: Matrix, num_rows: int) -> Matrix:
    """Weights that minimise a convex function, by L-BFGS.

    Args:
        objective: From weights to the function and its slopes.
        start: Weights to begin with, [P + 1, C].
        num_rows: Of the rows behind it, by which iterations are limited.
    """
    weights = torch.from_numpy(start.copy()).requires_grad_()
    iterations = int(_PRODUCTS / (2 * num_rows * start.size))
    optimizer = torch.optim.LBFGS(
        [weights],
        max_iter=max(_MIN_ITERATIONS, min(_MAX_ITERATIONS, iterations)),
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    @torch.no_grad()
    def step() -> Tensor:
        loss, weights.grad = objective(weights)
        return loss

    optimizer.step(step)  # type: ignore[no-untyped-call]
    found: Matrix = weights.detach().numpy()
    return found


def log_probabilities(predictors_NP: Matrix, weights: Matrix) -> Matrix:
    """Log softmax of the linear scores, [N, C]."""
    scores_NC = product(predictors_NP, weights[:-1]) + weights[-1]
    scores_NC -= scores_NC.max(axis=1, keepdims=True)
    log_p: Matrix = scores_NC - np.log(np.exp(scores_NC).sum(axis=1, keepdims=True))
    return log_p
