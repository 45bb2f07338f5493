"""Losses on how the samples of a batch lie to each other: no projector is needed, whatever the widths.

Shape legend: B samples, D and E channels of student and teacher, V samples taken as vertex of an angle.
Nothing here detaches, weights, averages over samples or logs.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from fdkd_core.losses.features import l2_normalize
from fdkd_core.losses.precision import full_precision
from fdkd_core.losses.shapes import check_same_batch

ANGLE_NUMBERS = 1 << 24
"""Most numbers in one tensor of the angle loss, 64 MiB; beyond it the vertices are taken in groups."""
_TINY = 1e-8


@full_precision
def distance_relation(
    student_BD: Float[Tensor, "b d"], teacher_BE: Float[Tensor, "b e"]
) -> Float[Tensor, " b"]:
    """Smooth L1 of the distances between samples, each divided by the mean distance of its side.

    Args:
        student_BD: Student features.
        teacher_BE: Teacher features of the same samples, of any width.

    Returns:
        Shape [B]: sample i's mean over all j. Their mean is the loss over all pairs. Zero for one sample, and
        for two, whose only distance is the mean.

    Raises:
        ValueError: The numbers of samples differ.

    References:
        Park et al., "Relational Knowledge Distillation" (RKD), CVPR 2019, distance-wise loss, with the
        Huber loss and the mean over distances above zero of the paper. As in the authors' code the mean
        takes in the pairs (i, i). Samples that coincide have distance 0, and pull with no gradient.
    """
    check_same_batch(student_BD, teacher_BE, "features")
    difference_BB = functional.smooth_l1_loss(
        _relative_distances(student_BD), _relative_distances(teacher_BE), reduction="none"
    )
    return difference_BB.mean(dim=1)


@full_precision
def angle_relation(
    student_BD: Float[Tensor, "b d"], teacher_BE: Float[Tensor, "b e"], *, most_numbers: int = ANGLE_NUMBERS
) -> Float[Tensor, " b"]:
    """Smooth L1 of the cosines of all angles that three samples form.

    Args:
        student_BD: Student features.
        teacher_BE: Teacher features of the same samples, of any width.
        most_numbers: Bound on the size of one tensor. The B^3 cosines (and the B^2 D differences behind them)
            are computed for so many vertices at a time, and again in the backward pass where it takes more
            than one group: memory stays bounded, the value is that of all triples. Time is still of the order
            of B^3 D.

    Returns:
        Shape [B]: the mean over all pairs (j, k) of the angle at sample i. Their mean is the loss over all
        triples.

    Raises:
        ValueError: The numbers of samples differ.

    References:
        Park et al., CVPR 2019, angle-wise loss. As in the authors' code the mean takes in triples with
        equal members. A side of length zero has no direction: its cosines are 0, without a gradient.
    """
    check_same_batch(student_BD, teacher_BE, "features")
    samples, widest = len(student_BD), max(len(student_BD), student_BD.shape[1], teacher_BE.shape[1])
    per_group = max(1, most_numbers // (samples * widest))
    groups = torch.split(torch.arange(samples, device=student_BD.device), per_group)
    if len(groups) == 1:
        return _angle_differences(student_BD, teacher_BE, groups[0])
    found = [
        checkpoint(
            _angle_differences,
            student_BD,
            teacher_BE,
            vertices,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for vertices in groups
    ]
    return torch.cat(found)


def _relative_distances(features_BD: Tensor) -> Tensor:
    # Not through the scalar products, whose rounding sets samples apart that coincide.
    distances_BB = torch.cdist(features_BD, features_BD, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distances_BB.sum() / (distances_BB > 0).sum().clamp_min(1)
    # Where all samples coincide there is nothing to divide by, and nothing to learn from.
    scale: Tensor = (mean > _TINY).to(mean.dtype) / mean.clamp_min(_TINY)
    return distances_BB * scale


def _angle_differences(
    student_BD: Float[Tensor, "b d"], teacher_BE: Float[Tensor, "b e"], vertices_V: Int[Tensor, " v"]
) -> Float[Tensor, " v"]:
    difference_VBB = functional.smooth_l1_loss(
        _cosines(student_BD, vertices_V), _cosines(teacher_BE, vertices_V), reduction="none"
    )
    return difference_VBB.mean(dim=(1, 2))


def _cosines(features_BD: Tensor, vertices_V: Tensor) -> Tensor:
    """Of the angles at some vertices between all pairs of samples, [V, B, B]."""
    sides_VBD = features_BD[None] - features_BD[vertices_V][:, None]
    unit_VBD = l2_normalize(sides_VBD.flatten(0, 1)).view_as(sides_VBD)
    return unit_VBD @ unit_VBD.transpose(1, 2)
