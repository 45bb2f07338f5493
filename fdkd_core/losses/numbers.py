"""Losses on answers that are numbers, one value per sample.

Means over the numbers: sums of ten of them diverged at the default learning rate (docs/decisions/0021). Shape
legend: B samples, K numbers, on the scale on which they are learnt.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fdkd_core.losses.precision import full_precision
from fdkd_core.losses.shapes import check_same_shape


@full_precision
def half_squared_error(
    student_BK: Float[Tensor, "b k"], wanted_BK: Float[Tensor, "b k"]
) -> Float[Tensor, " b"]:
    """Mean over the numbers of (s - y)^2 / 2: the task's own loss, and what a teacher's answers teach.

    Half, as the logarithm of a normal density has it: its gradient is s - y, as that of cross-entropy is
    p - y, and suits the same learning rate.

    Args:
        student_BK: Answers.
        wanted_BK: Labels, or a teacher's answers.

    Raises:
        ValueError: The shapes differ.

    References:
        As a distillation loss: Ba and Caruana, "Do Deep Nets Really Need to be Deep?", NeurIPS 2014, who
        regress outputs without a softmax.
    """
    check_same_shape(student_BK, wanted_BK, "answers")
    return (student_BK - wanted_BK.to(student_BK.dtype)).square().mean(dim=1) / 2.0


@full_precision
def mean_huber(
    student_BK: Float[Tensor, "b k"], wanted_BK: Float[Tensor, "b k"], *, delta: float
) -> Float[Tensor, " b"]:
    """Mean over the numbers of d^2 / 2 where |d| <= delta, and delta * (|d| - delta / 2) beyond; d = s - y.

    Args:
        student_BK: Answers.
        wanted_BK: Labels.
        delta: Above 0, on the scale of the answers.

    Raises:
        ValueError: The shapes differ.

    References:
        Huber, "Robust Estimation of a Location Parameter", 1964.
    """
    check_same_shape(student_BK, wanted_BK, "answers")
    wanted_BK = wanted_BK.to(student_BK.dtype)
    return functional.huber_loss(student_BK, wanted_BK, reduction="none", delta=delta).mean(dim=1)
