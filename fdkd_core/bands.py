"""Bases in which a feature vector is split into a low and a high band, beside the channel FFT.

The order of a network's channels is arbitrary, so "low frequency along the channels" gets its meaning only by
training. The bases here ask what a split by anything else would do: another transform (`dct`), an order that
comes from the teacher itself (`pca`, `class`), and one that means nothing at all (`random`, the control).

Shape legend: N training rows, B samples, D channels, K basis vectors.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fdkd_core.frequency import cutoff_bin
from fdkd_core.losses.precision import full_precision

BasisName = Literal["dct", "pca", "class", "random"]
MIN_ROWS = 2
"""Fewer rows say nothing about directions; a basis of the teacher then is the identity, as when a job is only
checked."""


def dct_basis(dim: int) -> Float[Tensor, "d k"]:
    """DCT-II without its constant vector: K = D - 1 orthonormal columns, from slow to fast.

    Raises:
        ValueError: Fewer than 2 channels.
    """
    _require_channels(dim)
    channel = torch.arange(dim, dtype=torch.float64)
    order = torch.arange(1, dim, dtype=torch.float64)
    basis_DK = math.sqrt(2 / dim) * torch.cos(math.pi * (channel[:, None] + 0.5) * order / dim)
    return basis_DK.float()


def random_basis(dim: int, seed: int) -> Float[Tensor, "d k"]:
    """K = D - 1 random orthonormal columns without a mean, the same for equal seeds.

    A split by them removes the mean and halves the rest without any order: what it gains, a meaningful split
    has to beat.

    Raises:
        ValueError: Fewer than 2 channels.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(dim - 1, dim - 1, generator=generator, dtype=torch.float64)
    rotation: Tensor = torch.linalg.qr(noise).Q
    rotated_DK: Tensor = dct_basis(dim).double() @ rotation
    return rotated_DK.float()


def pca_basis(features_ND: Float[Tensor, "n d"]) -> Float[Tensor, "d k"]:
    """Principal directions of the teacher's features over the training rows, K = D columns, by variance.

    Args:
        features_ND: Of the training rows. With fewer rows than channels the last columns are arbitrary.
    """
    return _directions(features_ND.double()).float()


def class_basis(features_ND: Float[Tensor, "n d"], labels_N: Int[Tensor, " n"]) -> Float[Tensor, "d k"]:
    """Directions in which the teacher's class means differ, by that variance; then the rest, by variance.

    At most C - 1 directions tell C classes apart in the mean; those come first. K = D columns.

    Args:
        features_ND: Teacher's features of the training rows.
        labels_N: Their classes.
    """
    x_ND = features_ND.double()
    if len(x_ND) < MIN_ROWS:
        return torch.eye(x_ND.shape[1])
    classes, counts = torch.unique(labels_N, return_counts=True)
    means = torch.stack([x_ND[labels_N == c].mean(dim=0) for c in classes])
    weighted = (means - x_ND.mean(dim=0)) * counts.double().sqrt()[:, None]
    between = torch.linalg.svd(weighted, full_matrices=False)
    floor = 1e-6 * between.S.max().clamp_min(1e-12)
    rank = int(between.S.gt(floor).sum())
    first_DK = between.Vh[:rank].T
    rest_ND = x_ND - x_ND.mean(dim=0)
    rest_ND = rest_ND - rest_ND @ first_DK @ first_DK.T
    basis_DK = torch.cat([first_DK, _directions(rest_ND)], dim=1)
    # QR keeps the leading columns and makes the others orthogonal to them, whatever rounding left.
    orthonormal_DK: Tensor = torch.linalg.qr(basis_DK).Q
    return orthonormal_DK.float()


@full_precision
def split_by_basis(
    features_BD: Float[Tensor, "b d"],
    basis_DK: Float[Tensor, "d k"],
    centre_D: Float[Tensor, " d"] | Float[Tensor, "b 1"],
    *,
    num_low: int,
) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
    """Projects centred features on the first `num_low` basis vectors, and on all that is left.

    Args:
        features_BD: Features.
        basis_DK: Orthonormal columns.
        centre_D: Subtracted first: the mean over the channels of each sample, [B, 1], or a mean sample, [D].
        num_low: Columns of the low band.

    Returns:
        low_BD and high_BD, orthogonal, which add up to the centred features.
    """
    centred_BD = features_BD - centre_D
    low_DK = basis_DK[:, :num_low].to(features_BD.dtype)
    low_BD = centred_BD @ low_DK @ low_DK.T
    return low_BD, centred_BD - low_BD


def num_low(dim: int, cutoff: float) -> int:
    """How many of D - 1 vectors are low: as many as the FFT's low band has dimensions, at least one."""
    return max(1, min(2 * cutoff_bin(dim, cutoff), dim - 1))


def _directions(rows_ND: Tensor) -> Tensor:
    """Right singular vectors of centred rows as columns, D of them, with a sign that is always the same."""
    dim = rows_ND.shape[1]
    if len(rows_ND) < MIN_ROWS:
        return torch.eye(dim, dtype=rows_ND.dtype)
    centred = rows_ND - rows_ND.mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    vectors = vectors[:, values.argsort(descending=True)]
    largest = vectors.abs().argmax(dim=0)
    signs: Tensor = vectors[largest, torch.arange(dim)].sign()
    directions: Tensor = vectors * signs
    return directions


def _require_channels(dim: int) -> None:
    if dim < 2:
        raise ValueError(f"a band split needs at least 2 channels, found {dim}")
