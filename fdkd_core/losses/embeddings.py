"""Losses on embeddings by which samples of one label find each other, one value per sample.

Shape legend: B samples, E numbers of an embedding.
Nothing here detaches, weights, averages over samples or logs.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from fdkd_core.losses.features import l2_normalize, squared_error
from fdkd_core.losses.precision import full_precision
from fdkd_core.losses.shapes import check_same_shape


@full_precision
def supervised_contrast(
    embeddings_BE: Float[Tensor, "b e"], labels_B: Int[Tensor, " b"], *, temperature: float
) -> Float[Tensor, " b"]:
    """Cross-entropy of who is of a sample's label, averaged over those who are.

    L_i = -1/|P(i)| sum over p in P(i) of log( exp(z_i z_p / tau) / sum over a != i of exp(z_i z_a / tau) ),
    z of norm 1, P(i) the other samples of i's label. With one of them each it is NT-Xent.

    Args:
        embeddings_BE: Of any norm; one of norm 0 is as far from all others.
        labels_B: Of the same samples.
        temperature: tau > 0, in units of cosines.

    Returns:
        Shape [B], in nats; 0 for a sample without another of its label. At a collapse, log(B - 1).

    Raises:
        ValueError: The shapes do not fit.

    References:
        Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, eq. 2 (the sum outside the logarithm).
        There every sample comes in two augmented views, so that each has a positive; here it comes once, and
        batches are drawn so that most have one.
    """
    if embeddings_BE.ndim != 2 or labels_B.shape != embeddings_BE.shape[:1]:
        raise ValueError(
            f"embeddings and labels differ in shape: {list(embeddings_BE.shape)} and {list(labels_B.shape)}; "
            "one label per row is needed"
        )
    unit_BE = l2_normalize(embeddings_BE)
    scores_BB = unit_BE @ unit_BE.T / temperature
    itself_BB = torch.eye(len(labels_B), dtype=torch.bool, device=labels_B.device)
    right_BB = (labels_B[:, None] == labels_B) & ~itself_BB
    # Not minus infinity: of a batch of one row nothing would be left, and the gradient be no number.
    others_BB = scores_BB.masked_fill(itself_BB, torch.finfo(scores_BB.dtype).min)
    count_B = right_BB.sum(dim=1)
    nearness_B = (scores_BB * right_BB).sum(dim=1) / count_B.clamp_min(1)
    return (others_BB.logsumexp(dim=1) - nearness_B) * (count_B > 0)


@full_precision
def pair_contrast(
    embeddings_BE: Float[Tensor, "b e"], vectors_BE: Float[Tensor, "b e"], *, temperature: float
) -> Float[Tensor, " b"]:
    """Cross-entropy of which of the batch's vectors is a sample's own, which is InfoNCE.

    L_i = -log( exp(z_i v_i / tau) / sum over the different vectors v of exp(z_i v / tau) ), all of norm 1.

    Only samples ask: the vectors are what they are, and nobody will ask by them.

    Args:
        embeddings_BE: Of any norm.
        vectors_BE: What belongs to each; constants. Samples may have the same, which then counts once.
        temperature: tau > 0, in units of cosines.

    Returns:
        Shape [B], in nats; 0 where all samples have one vector.

    Raises:
        ValueError: The shapes differ.

    References:
        van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018, eq. 4, with
        the cosine over tau for the logarithm of f, as in Radford et al. (CLIP, ICML 2021), who ask both ways.
    """
    check_same_shape(embeddings_BE, vectors_BE, "embeddings")
    different_KE, own_B = torch.unique(vectors_BE, dim=0, return_inverse=True)
    different_KE = l2_normalize(different_KE.to(embeddings_BE.dtype))
    scores_BK = l2_normalize(embeddings_BE) @ different_KE.T / temperature
    return functional.cross_entropy(scores_BK, own_B, reduction="none")


@full_precision
def embedding_distance(
    student_BE: Float[Tensor, "b e"], teacher_BE: Float[Tensor, "b e"]
) -> Float[Tensor, " b"]:
    """2 - 2 cos between two embeddings of a sample: what a teacher's answers teach.

    A student that learns it answers in the space of its teacher, so that one may search the other's gallery.

    Args:
        student_BE: Of any norm.
        teacher_BE: Of the same shape.

    Returns:
        Shape [B], 0..4; 1 where one of the two is zero.

    Raises:
        ValueError: The shapes differ.
    """
    check_same_shape(student_BE, teacher_BE, "embeddings")
    return squared_error(l2_normalize(student_BE), l2_normalize(teacher_BE))
