"""Matrix products and decompositions by torch, which keeps to the threads that the run was given.

numpy's own library takes every core whatever the run was told. Where other processes need them too, its
threads wait for each other by spinning: the small products of a diagnosis became twenty times slower.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]


def product(left: Matrix, right: Matrix) -> Matrix:
    """Left @ right, of float64 matrices."""
    found: Matrix = (torch.from_numpy(left) @ torch.from_numpy(right)).numpy()
    return found


def frobenius(left: Matrix, right: Matrix) -> float:
    """Frobenius norm of left' @ right."""
    return float(torch.linalg.matrix_norm(torch.from_numpy(left).T @ torch.from_numpy(right)))


def singular_values(matrix: Matrix) -> tuple[Matrix, Vector, Matrix]:
    """U, s and V' of the thin singular value decomposition."""
    left, values, right = torch.linalg.svd(torch.from_numpy(matrix), full_matrices=False)
    return left.numpy(), values.numpy(), right.numpy()


def eigenvectors(symmetric: Matrix) -> tuple[Vector, Matrix]:
    """Eigenvalues, ascending, and eigenvectors as columns."""
    values, vectors = torch.linalg.eigh(torch.from_numpy(symmetric))
    return values.numpy(), vectors.numpy()
