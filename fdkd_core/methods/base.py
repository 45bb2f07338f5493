"""What a distillation method is: named loss terms per sample, and a weight for each."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

from fdkd_core.models.base import ModelOutput


class StepViews(NamedTuple):
    """What a method may look at in one step."""

    student: ModelOutput
    teacher: ModelOutput | None
    """Constant: no gradient flows into it. None for methods without a teacher."""
    labels: Int[Tensor, " b"]


class Method(nn.Module):
    """Base of every method: a module, so that its own parameters are trained and checkpointed."""

    weights: dict[str, float]
    """Factor of each term; the training loop applies it after averaging over samples."""
    needs_teacher: bool = True

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """Unweighted loss terms, each of shape [B]; the keys are those of `weights`."""
        raise NotImplementedError


def make_projector(kind: str, student_dim: int, teacher_dim: int) -> nn.Module:
    """Maps student features to the teacher's width; trained with the student, never exported.

    Args:
        kind: `linear` for a Linear layer, `auto` for one only where the widths differ.
        student_dim: D of the student.
        teacher_dim: D of the teacher.
    """
    if kind == "linear" or student_dim != teacher_dim:
        return nn.Linear(student_dim, teacher_dim)
    return nn.Identity()
