"""Noise-contrastive losses against a memory of embeddings.

Shape legend: B samples, E numbers of an embedding, K remembered samples.
Nothing here detaches, weights, averages over samples or logs.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from fdkd_core.losses.precision import full_precision
from fdkd_core.losses.shapes import check_same_shape


@full_precision
def noise_contrast(
    anchor_BE: Float[Tensor, "b e"],
    positive_BE: Float[Tensor, "b e"],
    others_KE: Float[Tensor, "k e"],
    is_negative_BK: Bool[Tensor, "b k"],
    log_normalizer: Float[Tensor, ""],
    *,
    temperature: float,
    num_rows: int,
) -> Float[Tensor, " b"]:
    """-log h(a, positive) - sum over negatives of log(1 - h(a, negative)), h = P / (P + m / N).

    P = exp(<a, v> / tau) / Z estimates how likely v belongs to the anchor a; m is the number of a's
    negatives, m / N what they amount to under uniform noise over the N training rows.

    Args:
        anchor_BE: Embeddings of one side, of norm 1.
        positive_BE: What the other side's memory holds of the same samples.
        others_KE: What it holds of some samples.
        is_negative_BK: Which of them are negatives of which anchor.
        log_normalizer: log Z.
        temperature: tau > 0.
        num_rows: N.

    Returns:
        Shape [B], in nats. Computed in logarithms: finite for any temperature.

    Raises:
        ValueError: The shapes do not fit.

    References:
        Tian, Krishnan and Isola, "Contrastive Representation Distillation" (CRD), ICLR 2020, eq. 18 with the
        critic of eq. 19. The authors' code adds 1e-7 to the denominator, which logarithms do not need.
    """
    _check(anchor_BE, positive_BE, others_KE, is_negative_BK)
    positive_B, others_BK = _log_scores(anchor_BE, positive_BE, others_KE, temperature)
    log_noise_B = (is_negative_BK.sum(dim=1).clamp_min(1) / num_rows).log().to(positive_B.dtype)
    recognised_B = functional.logsigmoid(positive_B - log_normalizer - log_noise_B)
    refused_BK = functional.logsigmoid(log_noise_B[:, None] + log_normalizer - others_BK)
    return -recognised_B - (refused_BK * is_negative_BK).sum(dim=1)


@full_precision
def log_normalizer(
    anchor_BE: Float[Tensor, "b e"],
    positive_BE: Float[Tensor, "b e"],
    others_KE: Float[Tensor, "k e"],
    is_negative_BK: Bool[Tensor, "b k"],
    *,
    temperature: float,
    num_rows: int,
) -> Float[Tensor, ""]:
    """The log Z of `noise_contrast`: of N times the mean of exp(<a, v> / tau) over positives and negatives.

    Args: as for `noise_contrast`.

    Raises:
        ValueError: The shapes do not fit.

    References:
        Tian et al., ICLR 2020: the authors' code estimates Z so from the first batch and keeps it.
    """
    _check(anchor_BE, positive_BE, others_KE, is_negative_BK)
    positive_B, others_BK = _log_scores(anchor_BE, positive_BE, others_KE, temperature)
    scores = torch.cat([positive_B, others_BK[is_negative_BK]])
    return torch.logsumexp(scores, dim=0) - math.log(len(scores)) + math.log(num_rows)


def _log_scores(
    anchor: Tensor, positive: Tensor, others: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    return (anchor * positive).sum(dim=1) / temperature, anchor @ others.T / temperature


def _check(anchor: Tensor, positive: Tensor, others: Tensor, is_negative: Tensor) -> None:
    check_same_shape(anchor, positive, "embeddings")
    if others.shape[1:] != anchor.shape[1:] or is_negative.shape != (len(anchor), len(others)):
        raise ValueError(
            f"embeddings, memory and mask do not fit in shape: {list(anchor.shape)}, {list(others.shape)} "
            f"and {list(is_negative.shape)}"
        )
