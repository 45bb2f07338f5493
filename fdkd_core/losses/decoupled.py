"""Losses on class scores that treat the sample's own class apart from the others.

Shape legend: B samples, C classes, N = C - 1 classes that are not the sample's own. z are logits, p their
softmax, y the label, b = (p_y, 1 - p_y), and q the softmax over the other classes alone.
Nothing here detaches, weights, averages over samples or logs.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from fdkd_core.losses.logits import tempered_kl
from fdkd_core.losses.precision import full_precision
from fdkd_core.losses.shapes import check_scores


@full_precision
def target_class_kl(
    student_BC: Float[Tensor, "b c"],
    teacher_BC: Float[Tensor, "b c"],
    labels_B: Int[Tensor, " b"],
    *,
    temperature: float,
) -> Float[Tensor, " b"]:
    """TCKD: T^2 * KL(b_t || b_s): how sure the teacher is of the right class.

    Args:
        student_BC: Student logits.
        teacher_BC: Teacher logits of the same shape.
        labels_B: Class indexes in 0..C-1.
        temperature: T > 0 of the softmax.

    Returns:
        Shape [B], in nats; zero at equality.

    Raises:
        ValueError: The shapes differ, or there are fewer than 2 classes.

    References:
        Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, eq. 6, where KL(p_t || p_s) = TCKD +
        (1 - p_y of the teacher) * NCKD. Probabilities stay in logarithms here, so that p_y near 1 is no
        trouble; the authors' code takes logarithms of sums of probabilities.
    """
    check_scores(student_BC, teacher_BC, labels_B)
    student_B2 = _log_own_and_rest(student_BC / temperature, labels_B)
    teacher_B2 = _log_own_and_rest(teacher_BC / temperature, labels_B)
    divergence_B2 = functional.kl_div(student_B2, teacher_B2, reduction="none", log_target=True)
    return temperature**2 * divergence_B2.sum(dim=1)


@full_precision
def non_target_kl(
    student_BC: Float[Tensor, "b c"],
    teacher_BC: Float[Tensor, "b c"],
    labels_B: Int[Tensor, " b"],
    *,
    temperature: float,
) -> Float[Tensor, " b"]:
    """NCKD: T^2 * KL(q_t || q_s): what the teacher thinks of the wrong classes.

    Args:
        student_BC: Student logits.
        teacher_BC: Teacher logits of the same shape.
        labels_B: Class indexes in 0..C-1.
        temperature: T > 0 of the softmax.

    Returns:
        Shape [B], in nats; zero at equality, and always with two classes, of which one is not the sample's.

    Raises:
        ValueError: The shapes differ, or there are fewer than 2 classes.

    References:
        Zhao et al., CVPR 2022, eq. 6; used by C2KD too (Huo et al., CVPR 2024), whose code sets the own
        class's logit to 0, so that it stays in the softmax. Here it is taken out.
    """
    check_scores(student_BC, teacher_BC, labels_B)
    return tempered_kl(
        other_classes(student_BC, labels_B), other_classes(teacher_BC, labels_B), temperature=temperature
    )


@full_precision
def soft_target_cross_entropy(
    student_BC: Float[Tensor, "b c"], teacher_BC: Float[Tensor, "b c"], labels_B: Int[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """-p_t,y * log p_s,y: cross-entropy, as much as the teacher believes in the label.

    Args:
        student_BC: Student logits.
        teacher_BC: Teacher logits of the same shape.
        labels_B: Class indexes in 0..C-1.

    Returns:
        Shape [B], in nats. Not zero at equality: it is smallest where the student is sure.

    Raises:
        ValueError: The shapes differ, or there are fewer than 2 classes.

    References:
        Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation" (NKD), ICCV 2023, first
        term of the loss, without a temperature as there.
    """
    check_scores(student_BC, teacher_BC, labels_B)
    own_B1 = labels_B[:, None].long()
    believed_B1 = teacher_BC.softmax(dim=1).gather(1, own_B1)
    return -(believed_B1 * student_BC.log_softmax(dim=1).gather(1, own_B1)).squeeze(1)


@full_precision
def non_target_cross_entropy(
    student_BC: Float[Tensor, "b c"],
    teacher_BC: Float[Tensor, "b c"],
    labels_B: Int[Tensor, " b"],
    *,
    temperature: float,
) -> Float[Tensor, " b"]:
    """-T^2 * sum_i q_t,i * log q_s,i: both sides normalised over the wrong classes, so that they can agree.

    Args:
        student_BC: Student logits.
        teacher_BC: Teacher logits of the same shape.
        labels_B: Class indexes in 0..C-1.
        temperature: T > 0 of the softmax.

    Returns:
        Shape [B], in nats: `non_target_kl` plus T^2 times the entropy of q_t, which is left at equality.

    Raises:
        ValueError: The shapes differ, or there are fewer than 2 classes.

    References:
        Yang et al., ICCV 2023, second term of the NKD loss without its factor gamma.
    """
    check_scores(student_BC, teacher_BC, labels_B)
    teacher_BN = (other_classes(teacher_BC, labels_B) / temperature).softmax(dim=1)
    student_BN = (other_classes(student_BC, labels_B) / temperature).log_softmax(dim=1)
    return -(temperature**2) * (teacher_BN * student_BN).sum(dim=1)


@full_precision
def enhanced_target_cross_entropy(
    student_BC: Float[Tensor, "b c"],
    teacher_BC: Float[Tensor, "b c"],
    labels_B: Int[Tensor, " b"],
    *,
    gamma: float,
    temperature: float,
) -> Float[Tensor, " b"]:
    """What a teacher adds to cross-entropy in OFA: -((1 + p_t,y)^g - 1) log p_s,y - sum_i p_t,i log p_s,i.

    The sum runs over the classes i that are not y. With cross-entropy, -log p_s,y, it adds up to the
    published loss, -(1 + p_t,y)^g log p_s,y - sum_i p_t,i log p_s,i, at T = 1, the paper's.

    Args:
        student_BC: Student logits.
        teacher_BC: Teacher logits of the same shape.
        labels_B: Class indexes in 0..C-1.
        gamma: g >= 0. At 1 it is the cross-entropy with the teacher's probabilities; above, the right class
            weighs more, and more so where the teacher is sure of it.
        temperature: T > 0 of both softmaxes.

    Returns:
        Shape [B], in nats. Not zero at equality.

    Raises:
        ValueError: The shapes differ, or there are fewer than 2 classes.

    References:
        Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge
        Distillation" (OFA-KD), NeurIPS 2023, section 3. The authors' code raises the other classes'
        probabilities to the power g as well; the paper's loss, and this one, leaves them.
    """
    check_scores(student_BC, teacher_BC, labels_B)
    teacher_BC = (teacher_BC / temperature).softmax(dim=1)
    student_BC = (student_BC / temperature).log_softmax(dim=1)
    is_own_BC = functional.one_hot(labels_B.long(), student_BC.shape[1]).bool()
    share_BC = torch.where(is_own_BC, (1.0 + teacher_BC) ** gamma - 1.0, teacher_BC)
    return -(share_BC * student_BC).sum(dim=1)


def other_classes(logits_BC: Float[Tensor, "b c"], labels_B: Int[Tensor, " b"]) -> Float[Tensor, "b n"]:
    """The logits of the C - 1 classes that are not the sample's own, in their order."""
    index_N = torch.arange(logits_BC.shape[1] - 1, device=logits_BC.device)
    index_BN = index_N + (index_N >= labels_B[:, None])
    return logits_BC.gather(1, index_BN)


def _log_own_and_rest(scaled_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Logarithms of p_y and 1 - p_y, [B, 2]."""
    own_B1 = scaled_BC.gather(1, labels_B[:, None].long())
    rest_B1 = torch.logsumexp(other_classes(scaled_BC, labels_B), dim=1, keepdim=True)
    return torch.cat([own_B1, rest_B1], dim=1).log_softmax(dim=1)
