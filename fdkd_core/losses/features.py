"""Distances between feature vectors, one value per sample.

Shape legend: B samples, D channels. Nothing here detaches, weights, averages over samples or logs.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.precision import full_precision
from fdkd_core.losses.shapes import check_same_shape

Reduction = Literal["sum", "mean"]
"""Over the D channels of a sample."""


@full_precision
def l2_normalize(features_BD: Float[Tensor, "b d"], *, eps: float = 1e-8) -> Float[Tensor, "b d"]:
    """Divides each sample by its L2 norm: "scale consistency".

    Args:
        features_BD: Any float type.
        eps: Norm below which a sample counts as zero, in feature units.

    Returns:
        Rows of norm 1; zero rows stay zero.

    References:
        Liu et al., AAAI 2026, who divide by max(norm, 1e-8). At a norm below eps that multiplies gradients
        by 1e8 (a sample whose features are all dead would wreck the run); here such rows give zero and
        pass no gradient. Above eps both are the same.
    """
    norm_B1 = torch.linalg.vector_norm(features_BD, dim=1, keepdim=True)
    alive_B1 = (norm_B1 > eps).to(features_BD.dtype)
    scale_B1: Tensor = alive_B1 / norm_B1.clamp_min(eps)
    return features_BD * scale_B1


@full_precision
def squared_error(
    student_BD: Float[Tensor, "b d"], teacher_BD: Float[Tensor, "b d"], *, reduction: Reduction = "sum"
) -> Float[Tensor, " b"]:
    """Squared distance: sum_d (s_d - t_d)^2, or its mean over d.

    On unit vectors the sum is 2 - 2 cos, whatever the width; the mean is at most 4/D.

    Args:
        student_BD: Student features.
        teacher_BD: Teacher features of the same shape.
        reduction: `sum`, or `mean` for the authors' reduction (theirs averages over samples too).

    Returns:
        Shape [B].

    Raises:
        ValueError: The shapes differ.
    """
    check_same_shape(student_BD, teacher_BD, "features")
    squared_BD = (student_BD - teacher_BD).square()
    return squared_BD.sum(dim=1) if reduction == "sum" else squared_BD.mean(dim=1)


@full_precision
def signed_log(values: Float[Tensor, "..."], *, scale: float = 1.0) -> Float[Tensor, "..."]:
    """s_a(x) = sign(x) * log(1 + a|x|) / a: linear near zero, logarithmic beyond 1/a.

    Args:
        values: Any shape.
        scale: a > 0, in 1 / feature units. 1 is the paper's s(x).

    Returns:
        Same shape; slope 1 at zero for every a, and s_a tends to the identity as a tends to 0.

    References:
        Liu et al., AAAI 2026 define s with a = 1, where entries of a unit vector (about 1/sqrt(D)) stay in
        the linear part and logMSE is nearly MSE. The division by a is ours: it keeps a loss weight's meaning
        when a changes.
    """
    return values.sign() * torch.log1p(scale * values.abs()) / scale


@full_precision
def log_squared_error(
    student_BD: Float[Tensor, "b d"],
    teacher_BD: Float[Tensor, "b d"],
    *,
    scale: float = 1.0,
    reduction: Reduction = "sum",
) -> Float[Tensor, " b"]:
    """logMSE: squared distance after `signed_log`, so that large gaps pull less than under MSE.

    Args:
        student_BD: Student features.
        teacher_BD: Teacher features of the same shape.
        scale: See `signed_log`.
        reduction: See `squared_error`.

    Returns:
        Shape [B].

    Raises:
        ValueError: The shapes differ.
    """
    check_same_shape(student_BD, teacher_BD, "features")
    return squared_error(
        signed_log(student_BD, scale=scale), signed_log(teacher_BD, scale=scale), reduction=reduction
    )
