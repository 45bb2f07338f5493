"""Ridge regression on held-out rows, by one SVD for any number of targets.

Shape legend: N rows, P predictors, Q targets, R rank, L penalties.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdkd_core.diagnosis.products import Matrix, product, singular_values

FOLDS = 5
RELATIVE_PENALTIES = np.logspace(-4, 4, 17)
"""Times the mean squared singular value of the predictors: from next to none to next to the plain mean."""
_SMALLEST = 1e-10
"""Of a singular value, over the largest: what is below is rounding."""


class Ridge:
    """Predicts rows that were not fitted, for as many targets as are asked for.

    The SVD depends on the predictors alone, so that a target shuffled a hundred times costs a hundred small
    products. The penalty is chosen anew for each call by generalised cross-validation over all its targets.

    Args:
        fitted_NP: Predictors of the rows to fit.
        new_MP: Predictors of the rows to predict.

    References:
        Golub, Heath and Wahba, "Generalized cross-validation as a method for choosing a good ridge
        parameter", Technometrics 1979.
    """

    def __init__(self, fitted_NP: Matrix, new_MP: Matrix) -> None:
        mean_P = fitted_NP.mean(axis=0)
        left_NR, values_R, right_RP = singular_values(fitted_NP - mean_P)
        kept = values_R > _SMALLEST * max(float(values_R.max(initial=0.0)), 1e-300)
        self._left_RN = np.ascontiguousarray(left_NR[:, kept].T)
        self._values_R = values_R[kept]
        self._new_MR = product(new_MP - mean_P, right_RP[kept].T)
        square_R = self._values_R**2
        scale = float(square_R.mean()) if kept.any() else 1.0
        self._penalties_L = scale * RELATIVE_PENALTIES
        self._filters_LR = square_R / (square_R + self._penalties_L[:, None])

    def predict(self, targets_NQ: Matrix, *, penalty: float | None = None) -> Matrix:
        """Targets of the new rows, [M, Q].

        Args:
            targets_NQ: Of the fitted rows.
            penalty: Lambda in ||Y - XW||² + lambda ||W||²; null chooses it.
        """
        mean_Q = targets_NQ.mean(axis=0)
        centred_NQ = targets_NQ - mean_Q
        within_RQ = product(self._left_RN, centred_NQ)
        if penalty is None:
            penalty = self._choose(float((centred_NQ**2).sum()), (within_RQ**2).sum(axis=1), len(centred_NQ))
        shrunk_R = self._values_R / (self._values_R**2 + penalty)
        found_MQ: Matrix = mean_Q + product(self._new_MR, shrunk_R[:, None] * within_RQ)
        return found_MQ

    def _choose(self, total: float, energy_R: NDArray[np.float64], num_rows: int) -> float:
        """The penalty with the smallest generalised cross-validation error."""
        left_over_L = total - (1.0 - (1.0 - self._filters_LR) ** 2) @ energy_R
        # One degree of freedom goes to the mean; close to none left, the error is a ratio of roundings.
        freedom_L = num_rows - 1 - self._filters_LR.sum(axis=1)
        usable_L = freedom_L > 0.01 * num_rows
        if not usable_L.any():
            return float(self._penalties_L[-1])
        score_L = np.where(usable_L, left_over_L / np.where(usable_L, freedom_L, 1.0) ** 2, np.inf)
        return float(self._penalties_L[int(score_L.argmin())])


class FoldedRidge:
    """Cross-validated ridge regression from one set of predictors.

    Args:
        predictors_NP: One row per sample, at least 4.
        rng: Of the folds.
    """

    def __init__(self, predictors_NP: Matrix, rng: np.random.Generator) -> None:
        num_rows = len(predictors_NP)
        self._folds: list[tuple[NDArray[np.int64], NDArray[np.int64], Ridge]] = []
        for held_out in np.array_split(rng.permutation(num_rows), max(2, min(FOLDS, num_rows // 2))):
            fitted = np.setdiff1d(np.arange(num_rows), held_out)
            self._folds.append((fitted, held_out, Ridge(predictors_NP[fitted], predictors_NP[held_out])))

    def errors(self, targets_NQ: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Squared error of each row, [N], and that of predicting the mean of the fitted rows, [N]."""
        error_N = np.zeros(len(targets_NQ))
        baseline_N = np.zeros(len(targets_NQ))
        for fitted, held_out, ridge in self._folds:
            found_MQ = ridge.predict(targets_NQ[fitted])
            error_N[held_out] = ((targets_NQ[held_out] - found_MQ) ** 2).sum(axis=1)
            mean_Q = targets_NQ[fitted].mean(axis=0)
            baseline_N[held_out] = ((targets_NQ[held_out] - mean_Q) ** 2).sum(axis=1)
        return error_N, baseline_N

    def r2(self, targets_NQ: Matrix) -> float:
        """Share of the targets' variance that is predicted on held-out rows: at most 1, about 0 for nothing.

        Targets with more variance count more. 0 for targets that do not vary.
        """
        error_N, baseline_N = self.errors(targets_NQ)
        total = float(baseline_N.sum())
        return 1.0 - float(error_N.sum()) / total if total > 0 else 0.0
