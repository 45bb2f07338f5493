"""Samples as plain matrices: inputs flattened and made narrower, features, principal components."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.batches import clean_inputs
from fdkd_core.data.table import ModalityData
from fdkd_core.diagnosis.products import Matrix, eigenvectors, product
from fdkd_core.long_inputs import rows_at_a_time

MAX_COMPONENTS = 64
"""Principal components kept of inputs: a linear probe on 600 rows has no use for more."""
SKETCH_WIDTH = 2048
"""Inputs wider than this are sketched first, which keeps distances to about 1/sqrt(width) = 2 %."""
_ROWS_AT_A_TIME = 256


def input_matrix(modality: ModalityData, rows: NDArray[np.int64], *, width: int = SKETCH_WIDTH) -> Matrix:
    """What the network would be given, normalised and never augmented, as one vector per row.

    Text becomes the counts of its tokens, as square roots and of unit length, so that order and length do not
    matter.

    Args:
        modality: Of the dataset.
        rows: Row numbers.
        width: Most columns; wider inputs are sketched.

    Returns:
        [N, P], P at most `width`.
    """
    if len(rows) == 0:
        return np.zeros((0, 1))
    size = rows_at_a_time(_ROWS_AT_A_TIME, modality.values.shape[1:])
    chunks = np.array_split(rows, -(-len(rows) // size))
    return np.concatenate([sketch(_vectors(modality, chunk), width) for chunk in chunks])


def _vectors(modality: ModalityData, rows: NDArray[np.int64]) -> Matrix:
    inputs = clean_inputs(modality, rows)
    if modality.recipe["kind"] != "text":
        return inputs.reshape(len(inputs), -1).astype(np.float64)
    counts = np.zeros((len(inputs), int(modality.recipe["vocab_size"])))
    np.add.at(counts, (np.arange(len(inputs))[:, None], inputs), 1.0)
    counts[:, modality.recipe["padding_id"]] = 0.0
    roots = np.sqrt(counts)
    unit: Matrix = roots / np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), 1e-12)
    return unit


def sketch(vectors_NP: Matrix, width: int) -> Matrix:
    """Adds up columns in random groups with random signs, equal for equal P: [N, min(P, width)].

    References:
        Charikar, Chen and Farach-Colton, "Finding frequent items in data streams", 2002 (the count sketch).
    """
    num_columns = vectors_NP.shape[1]
    if num_columns <= width:
        return vectors_NP
    rng = np.random.default_rng(num_columns)
    signed = vectors_NP * rng.choice((-1.0, 1.0), num_columns)
    filler = np.zeros((len(signed), -num_columns % width))
    padded = np.concatenate([signed, filler], axis=1)[:, rng.permutation(num_columns + filler.shape[1])]
    added: Matrix = padded.reshape(len(padded), -1, width).sum(axis=1)
    return added


class Components:
    """Principal components, fitted on some rows and then taken of any.

    Args:
        fitted_NP: Rows to fit, at least 2.
        most: Most components.
    """

    def __init__(self, fitted_NP: Matrix, most: int = MAX_COMPONENTS) -> None:
        self._mean_P = fitted_NP.mean(axis=0)
        centred = fitted_NP - self._mean_P
        # Of the two Gram matrices the smaller: its eigenvectors give those of the other.
        if centred.shape[0] <= centred.shape[1]:
            values, vectors = eigenvectors(product(centred, centred.T))
            values, vectors = _largest(values, vectors, most)
            basis = product(centred.T, vectors) / np.sqrt(values)
        else:
            values, vectors = eigenvectors(product(centred.T, centred))
            values, basis = _largest(values, vectors, most)
        # An eigenvector's sign is arbitrary, and libraries differ in it.
        largest = np.abs(basis).argmax(axis=0)
        self._basis_PK = basis * np.sign(basis[largest, np.arange(basis.shape[1])])

    def of(self, rows_NP: Matrix) -> Matrix:
        """Components of some rows, [N, K], the one with most variance first."""
        return product(rows_NP - self._mean_P, self._basis_PK)


def _largest(values: NDArray[np.float64], vectors: Matrix, most: int) -> tuple[NDArray[np.float64], Matrix]:
    order = values.argsort()[::-1][:most]
    kept = order[values[order] > 1e-10 * max(float(values.max()), 1e-300)]
    if len(kept) == 0:
        kept = order[:1]
    return np.maximum(values[kept], 1e-300), vectors[:, kept]


def side_by_side(*views: Matrix) -> Matrix:
    """Views of the same rows next to each other, each scaled to the same total variance."""
    return np.concatenate(
        [view / max(float(np.sqrt(view.var(axis=0).sum())), 1e-12) for view in views], axis=1
    )
