"""Losses that compare by correlation: what differs in level or in size alone counts as equal.

Shape legend: B samples, C classes, D channels. Nothing here detaches, weights, averages over samples or logs.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.features import l2_normalize
from fdkd_core.losses.logits import tempered_kl
from fdkd_core.losses.precision import full_precision
from fdkd_core.losses.shapes import check_same_shape


@full_precision
def row_correlation(first_RN: Float[Tensor, "r n"], second_RN: Float[Tensor, "r n"]) -> Float[Tensor, " r"]:
    """Pearson's correlation of each row of one matrix with the same row of another.

    Args:
        first_RN: Any rows.
        second_RN: As many, of the same length.

    Returns:
        Shape [R], in -1..1. A constant row has no correlation: 0, and it passes no gradient.

    Raises:
        ValueError: The shapes differ.
    """
    check_same_shape(first_RN, second_RN, "rows")
    return (l2_normalize(_centred(first_RN)) * l2_normalize(_centred(second_RN))).sum(dim=1)


@full_precision
def inter_class_distance(
    student_BC: Float[Tensor, "b c"], teacher_BC: Float[Tensor, "b c"], *, temperature: float
) -> Float[Tensor, " b"]:
    """T^2 * (1 - rho(p_s, p_t)) of each sample's probabilities: how it ranks and spaces the classes.

    Args:
        student_BC: Student logits.
        teacher_BC: Teacher logits of the same shape.
        temperature: T > 0 of the softmax.

    Returns:
        Shape [B], in 0..2 T^2. With two classes rho is 1 or -1: the value is a step, without a gradient.

    Raises:
        ValueError: The shapes differ.

    References:
        Huang et al., "Knowledge Distillation from A Stronger Teacher" (DIST), NeurIPS 2022, section 3,
        eq. 8, inter-class relation. They add 1e-8 to the product of the norms; here constant rows give
        rho = 0.
    """
    check_same_shape(student_BC, teacher_BC, "logits")
    rho_B = row_correlation(
        (student_BC / temperature).softmax(dim=1), (teacher_BC / temperature).softmax(dim=1)
    )
    return temperature**2 * (1.0 - rho_B)


@full_precision
def intra_class_distance(
    student_BC: Float[Tensor, "b c"], teacher_BC: Float[Tensor, "b c"], *, temperature: float
) -> Float[Tensor, " b"]:
    """T^2 * (1 - mean_c rho(column c)): which samples of the batch are how likely of a class.

    Args:
        student_BC: Student logits.
        teacher_BC: Teacher logits of the same shape.
        temperature: T > 0 of the softmax.

    Returns:
        Shape [B], the batch's one value for each sample; 0 for a single sample, of which columns say nothing.

    Raises:
        ValueError: The shapes differ.

    References:
        Huang et al., NeurIPS 2022, section 3, eq. 9, intra-class relation. A constant column counts as
        rho = 0.
    """
    check_same_shape(student_BC, teacher_BC, "logits")
    rho_C = row_correlation(
        (student_BC / temperature).softmax(dim=1).T, (teacher_BC / temperature).softmax(dim=1).T
    )
    alone = len(student_BC) < 2
    value = 0.0 * rho_C.sum() if alone else temperature**2 * (1.0 - rho_C.mean())
    return torch.broadcast_to(value, (len(student_BC),))


@full_precision
def channel_distance(
    student_BD: Float[Tensor, "b d"], teacher_BD: Float[Tensor, "b d"], *, eps: float = 1e-5
) -> Float[Tensor, " b"]:
    """Half the mean squared distance of features, each channel standardised over the batch.

    The mean over the batch is mean_d (1 - rho_d), rho_d the correlation of channel d, where channels vary.

    Args:
        student_BD: Student features.
        teacher_BD: Teacher features of the same shape.
        eps: Added to each channel's variance, in squared feature units.

    Returns:
        Shape [B]; all zero for a single sample, whose channels do not vary.

    Raises:
        ValueError: The shapes differ.

    References:
        Cao et al., "PKD: General Distillation Framework for Object Detectors via Pearson Correlation
        Coefficient", NeurIPS 2022, section 3; there over batch and space, here over the batch, as pooled
        features have no space. Their code divides by the sample deviation plus 1e-6. Here it is the
        population's, for which the identity with 1 - rho is exact, and eps is batch norm's: behind a ReLU
        there are channels that hardly ever fire, whose gradients 1e-6 would multiply by up to a million.
    """
    check_same_shape(student_BD, teacher_BD, "features")
    difference_DB = _standardized(student_BD.T, eps) - _standardized(teacher_BD.T, eps)
    return 0.5 * difference_DB.square().mean(dim=0)


@full_precision
def standardized_kl(
    student_BC: Float[Tensor, "b c"], teacher_BC: Float[Tensor, "b c"], *, temperature: float
) -> Float[Tensor, " b"]:
    """`tempered_kl` of logits that were standardised: each sample's minus their mean, over their deviation.

    So the student need not match the teacher's range, only how its logits relate to each other.

    Args:
        student_BC: Student logits.
        teacher_BC: Teacher logits of the same shape.
        temperature: T > 0, the base temperature: the softmax is of z / (T * deviation).

    Returns:
        Shape [B], in nats. Logits that are all equal standardise to zeros, and pass no gradient. With two
        classes the standardised logits are 1 and -1 whatever their gap: there is no gradient at all.

    Raises:
        ValueError: The shapes differ.

    References:
        Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, algorithm 1. Their code
        divides by the sample deviation, of C - 1: the same as T * sqrt(C / (C - 1)) here.
    """
    check_same_shape(student_BC, teacher_BC, "logits")
    scale = math.sqrt(student_BC.shape[1])  # the deviation is the centred row's norm over this
    return tempered_kl(
        scale * l2_normalize(_centred(student_BC)),
        scale * l2_normalize(_centred(teacher_BC)),
        temperature=temperature,
    )


def _centred(values_RN: Tensor) -> Tensor:
    # Taking off the first entry before the mean makes equal entries exactly zero, where rounding of the mean
    # would leave some 1e-8 that a division by their norm turns into noise.
    shifted_RN = values_RN - values_RN[:, :1]
    return shifted_RN - shifted_RN.mean(dim=1, keepdim=True)


def _standardized(values_RN: Tensor, eps: float) -> Tensor:
    centred_RN = _centred(values_RN)
    return centred_RN * torch.rsqrt(centred_RN.square().mean(dim=1, keepdim=True) + eps)
