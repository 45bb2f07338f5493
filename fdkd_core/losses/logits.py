"""Losses on class scores, one value per sample.

Shape legend: B samples, C classes. Nothing here detaches, weights, averages over samples or logs.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from fdkd_core.losses.precision import full_precision
from fdkd_core.losses.shapes import check_same_shape


@full_precision
def cross_entropy(logits_BC: Float[Tensor, "b c"], labels_B: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Cross-entropy: -log softmax(z)_y.

    Args:
        logits_BC: Unnormalised scores.
        labels_B: Class indexes in 0..C-1.

    Returns:
        Shape [B], in nats.
    """
    return functional.cross_entropy(logits_BC, labels_B, reduction="none")


@full_precision
def tempered_kl(
    student_BC: Float[Tensor, "b c"], teacher_BC: Float[Tensor, "b c"], *, temperature: float
) -> Float[Tensor, " b"]:
    """T^2 * KL(softmax(z_t / T) || softmax(z_s / T)).

    The factor T^2 keeps the gradient's size when T changes.

    Args:
        student_BC: Student logits.
        teacher_BC: Teacher logits of the same shape.
        temperature: T > 0.

    Returns:
        Shape [B], in nats; zero where the logits agree up to a constant.

    Raises:
        ValueError: The shapes differ.

    References:
        Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """
    check_same_shape(student_BC, teacher_BC, "logits")
    divergence_BC = functional.kl_div(
        functional.log_softmax(student_BC / temperature, dim=1),
        functional.log_softmax(teacher_BC / temperature, dim=1),
        reduction="none",
        log_target=True,
    )
    return temperature**2 * divergence_BC.sum(dim=1)
