"""Losses on maps, one value per sample.

Shape legend: B samples, C classes, D and E channels of student and teacher, h x w places of a map, H x W
pixels of a mask. Nothing here detaches, weights, averages over samples or logs.
"""

from __future__ import annotations

from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from fdkd_core.losses.features import l2_normalize
from fdkd_core.losses.precision import full_precision
from fdkd_core.losses.shapes import check_same_places
from fdkd_core.spec.tasks import VOID


@full_precision
def resized(maps: Float[Tensor, "b c h w"], size: tuple[int, int]) -> Float[Tensor, "b c hh ww"]:
    """Maps at another size [height, width], bilinearly; corners of pixels stay where they are."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


@full_precision
def averaged_to(maps: Float[Tensor, "b c h w"], size: tuple[int, int]) -> Float[Tensor, "b c hh ww"]:
    """As `resized`, but where maps shrink, all places that a new one covers count: none is passed over."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False, antialias=True)


@full_precision
def pixel_cross_entropy(
    logits_BChw: Float[Tensor, "b c h w"], masks_BHW: UInt8[Tensor, "b hh ww"] | Int[Tensor, "b hh ww"]
) -> Float[Tensor, " b"]:
    """Cross-entropy, mean over the pixels of a sample that have a label.

    Args:
        logits_BChw: Unnormalised scores at any size; they are brought to the mask's bilinearly.
        masks_BHW: Class indexes in 0..C-1, and `VOID` where there is none.

    Returns:
        Shape [B], in nats; 0 for a sample without a labelled pixel.

    Raises:
        ValueError: There are more or fewer masks than samples.
    """
    if len(logits_BChw) != len(masks_BHW):
        raise ValueError(f"{len(logits_BChw)} samples have {len(masks_BHW)} masks")
    labels_BHW = masks_BHW.long()
    height, width = labels_BHW.shape[1:]
    loss_BHW = functional.cross_entropy(
        resized(logits_BChw, (height, width)), labels_BHW, ignore_index=VOID, reduction="none"
    )
    counted_B = (labels_BHW != VOID).sum(dim=(1, 2)).clamp(min=1)
    return loss_BHW.sum(dim=(1, 2)) / counted_B


@full_precision
def pixel_relation_kl(
    student_BDhw: Float[Tensor, "b d h w"], teacher_BEhw: Float[Tensor, "b e h w"], *, temperature: float
) -> Float[Tensor, " b"]:
    """KL of how each place resembles the places of every sample of the batch, of teacher and student.

    For samples i and j, row p of a table holds the cosine similarities of place p of i to all places of j;
    the softmax of each row over the temperature is a distribution. The value of i is the mean KL over its
    places and all j, itself among them, so that the mean over the batch is the paper's 1/N^2 sum over pairs.

    Args:
        student_BDhw: The student's features.
        teacher_BEhw: The teacher's, of as many places; their channels may differ.
        temperature: tau > 0; 0.1 in the paper.

    Returns:
        Shape [B], in nats. Places without any feature resemble all others alike, and pass no gradient.

    Raises:
        ValueError: Samples or places differ.

    References:
        Yang et al., "Cross-Image Relational Knowledge Distillation for Semantic Segmentation", CVPR 2022,
        equation 4. The tables are (B h w)^2 numbers: average the maps to few places first.
    """
    check_same_places(student_BDhw, teacher_BEhw)
    divergence_LBP = functional.kl_div(
        _log_relations(student_BDhw, temperature),
        _log_relations(teacher_BEhw, temperature),
        reduction="none",
        log_target=True,
    )
    return divergence_LBP.sum(dim=2).mean(dim=1).reshape(len(student_BDhw), -1).mean(dim=1)


def _log_relations(maps_BDhw: Tensor, temperature: float) -> Tensor:
    """Shape [L, B, P], L = B P: log-softmax of each place's similarities over the P places of a sample."""
    count, dim = maps_BDhw.shape[:2]
    rows_LD = l2_normalize(maps_BDhw.permute(0, 2, 3, 1).reshape(-1, dim))
    similar_LL = rows_LD @ rows_LD.T / temperature
    return similar_LL.reshape(len(rows_LD), count, -1).log_softmax(dim=2)
