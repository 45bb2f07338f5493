"""Losses on scores of classes that do not exclude each other, one value per sample.

Each class is a decision of its own: yes with the probability sigmoid(z). Values are sums over the classes:
with the mean, each class would be learnt the more slowly the more there are (docs/decisions/0021). Shape
legend: B samples, C classes.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fdkd_core.losses.precision import full_precision
from fdkd_core.losses.shapes import check_same_shape


@full_precision
def binary_cross_entropy(
    logits_BC: Float[Tensor, "b c"], labels_BC: Float[Tensor, "b c"]
) -> Float[Tensor, " b"]:
    """Sum over classes of -y log sigmoid(z) - (1 - y) log sigmoid(-z).

    Args:
        logits_BC: Unnormalised scores.
        labels_BC: 1 where a class applies, 0 elsewhere.

    Returns:
        Shape [B], in nats.

    Raises:
        ValueError: The shapes differ.
    """
    check_same_shape(logits_BC, labels_BC, "logits and labels")
    exact_BC = labels_BC.to(logits_BC.dtype)
    return functional.binary_cross_entropy_with_logits(logits_BC, exact_BC, reduction="none").sum(dim=1)


@full_precision
def tempered_binary_kl(
    student_BC: Float[Tensor, "b c"], teacher_BC: Float[Tensor, "b c"], *, temperature: float
) -> Float[Tensor, " b"]:
    """T^2 * sum over classes of KL(Bernoulli(sigmoid(z_t / T)) || Bernoulli(sigmoid(z_s / T))).

    What tempered KL is to one class a sample, for classes that do not exclude each other.

    Args:
        student_BC: Student logits.
        teacher_BC: Teacher logits of the same shape.
        temperature: T > 0.

    Returns:
        Shape [B], in nats; zero where the logits are equal.

    Raises:
        ValueError: The shapes differ.

    References:
        Yang et al., "Multi-Label Knowledge Distillation", ICCV 2023, whose multi-label logits distillation
        is this divergence, one against all, added up over the labels. The factor T^2 is of Hinton, Vinyals
        and Dean 2015.
    """
    check_same_shape(student_BC, teacher_BC, "logits")
    student_BC, teacher_BC = student_BC / temperature, teacher_BC / temperature
    yes_BC = functional.logsigmoid(teacher_BC) - functional.logsigmoid(student_BC)
    no_BC = functional.logsigmoid(-teacher_BC) - functional.logsigmoid(-student_BC)
    divergence_BC = teacher_BC.sigmoid() * yes_BC + (-teacher_BC).sigmoid() * no_BC
    return temperature**2 * divergence_BC.sum(dim=1)
