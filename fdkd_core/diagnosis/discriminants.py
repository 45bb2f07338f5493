"""Linear discriminants: in which directions rows of one label are alike and rows of different labels are not.

Shape legend: N rows, M other rows, P predictors, L labels, K directions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fdkd_core.diagnosis.products import Matrix, Vector, eigenvectors, product

SHRINKAGES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.001)
"""Of the covariance within labels towards a multiple of the identity; tried by cross-validation, the
strongest wins a tie."""
_FOLDS = 3


class Discriminants:
    """A linear embedding that learns from labels, and tells labels apart that it has not seen.

    The covariance within labels becomes the identity, and each direction counts by the share of its variance
    that lies between labels: one that differs as much within a label counts for nothing.

    Args:
        predictors_NP: Rows to fit.
        labels_N: Their labels.
        rng: Of the folds, which whole labels make up; single rows, where there are hardly any labels.
        score: How well embeddings [M, K] find rows of their labels [M]; more is better.

    References:
        Fisher 1936; Ioffe, "Probabilistic linear discriminant analysis", ECCV 2006.
    """

    def __init__(
        self,
        predictors_NP: Matrix,
        labels_N: NDArray[np.int64],
        rng: np.random.Generator,
        score: Callable[[Matrix, NDArray[np.int64]], float],
    ) -> None:
        labels = np.unique(labels_N)
        kept_together = labels_N if len(labels) >= 2 * _FOLDS else np.arange(len(labels_N))
        found = np.zeros(len(SHRINKAGES))
        for chosen in np.array_split(rng.permutation(np.unique(kept_together)), _FOLDS):
            held_out = np.isin(kept_together, chosen)
            if held_out.all() or not held_out.any():
                continue
            for place, shrinkage in enumerate(SHRINKAGES):
                axes = fit_discriminants(predictors_NP[~held_out], labels_N[~held_out], shrinkage)
                found[place] += score(_embedded(predictors_NP[held_out], axes), labels_N[held_out])
        self.shrinkage = SHRINKAGES[int(found.argmax())]
        self._axes = fit_discriminants(predictors_NP, labels_N, self.shrinkage)

    def embed(self, predictors_MP: Matrix) -> Matrix:
        """Embeddings [M, K], to be compared by their cosine."""
        return _embedded(predictors_MP, self._axes)


def fit_discriminants(
    predictors_NP: Matrix, labels_N: NDArray[np.int64], shrinkage: float
) -> tuple[Vector, Matrix]:
    """The mean [P] that is taken off, and the directions [P, K] with their weight."""
    _, place_N, count_L = np.unique(labels_N, return_inverse=True, return_counts=True)
    sums_LP = np.zeros((len(count_L), predictors_NP.shape[1]))
    np.add.at(sums_LP, place_N, predictors_NP)
    means_LP = sums_LP / count_L[:, None]
    off_NP = predictors_NP - means_LP[place_N]
    within_PP = product(off_NP.T, off_NP) / max(len(off_NP) - len(count_L), 1)
    size = max(float(np.trace(within_PP)) / len(within_PP), 1e-12)
    shrunk_PP = (1.0 - shrinkage) * within_PP + shrinkage * size * np.eye(len(within_PP))
    values_P, vectors_PP = eigenvectors(shrunk_PP)
    whitening_PP = vectors_PP / np.sqrt(np.maximum(values_P, 1e-9 * size))
    mean_P = predictors_NP.mean(axis=0)
    whitened_LP = product(means_LP - mean_P, whitening_PP)
    whitened_LP = whitened_LP - whitened_LP.mean(axis=0)
    spread_P, rotation_PP = eigenvectors(product(whitened_LP.T, whitened_LP) / max(len(count_L) - 1, 1))
    # A mean of few rows varies for their sake alone, too.
    between_P = np.maximum(spread_P - float((1.0 / count_L).mean()), 0.0)
    if not between_P.any():
        between_P = np.maximum(spread_P, 0.0)
    axes_PP: Matrix = product(whitening_PP, rotation_PP) * np.sqrt(between_P / (1.0 + between_P))
    return mean_P, axes_PP


def _embedded(predictors_MP: Matrix, axes: tuple[Vector, Matrix]) -> Matrix:
    mean_P, axes_PP = axes
    return product(predictors_MP - mean_P, axes_PP)
