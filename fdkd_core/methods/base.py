"""What a distillation method is: named loss terms per sample, and a weight for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fdkd_core.methods.balance import GradientBalance
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.spec.methods import WeightScheduleSpec
from fdkd_core.tasks.base import Task
from fdkd_core.tasks.classification import Classification


class StepViews(NamedTuple):
    """What a method may look at in one step: the rows of the batch that have a view of the teacher."""

    student: ModelOutput
    teacher: ModelOutput | None
    """Constant: no gradient flows into it. None for methods without a teacher."""
    labels: Tensor
    """As the task has them: [B] class indexes, or [B, C]."""
    positions: Int[Tensor, " b"] | None = None
    """Places among the training rows, for methods that remember samples."""
    teacher_inputs: Tensor | None = None
    """What the teacher's network takes, [B, ...]; only where `Method.needs_teacher_inputs`."""
    row_weights: Float[Tensor, " b"] | None = None
    """How much each row counts with this teacher among several, applied by `SeveralTeachers`; None for 1."""


@dataclass(frozen=True)
class MethodContext:
    """What a method is built for."""

    student_dim: int
    """D of the student's feature."""
    teacher_dim: int
    """D of the teacher's feature."""
    num_classes: int
    """C: numbers that a network answers with."""
    teacher_outputs: ModelOutput | None = None
    """Of all training rows, [N, D] and [N, C], for methods that look at them as a whole. N may be 0: when
    a job is only checked, nothing is known of the teacher but its width."""
    labels: Tensor | None = None
    """Of the same rows."""
    num_rows: int = 0
    """N: training rows."""
    teacher_model: Backbone | None = None
    """The trained teacher, for methods that train it further. They must copy it."""
    seed: int = 0
    """Of the training, for what a method draws at random once."""
    paired: Bool[Tensor, " n"] | None = None
    """Which training rows have a view of the teacher; None when all have. The outputs of the others are
    zeros, and they never come in a `StepViews`."""
    task: Task = field(default_factory=Classification)
    """What the networks answer, for methods that train classifiers of their own or compare answers."""


class Method(nn.Module):
    """Base of every method: a module, so that its own parameters are trained and checkpointed."""

    weights: dict[str, float]
    """Factor of each term; the training loop applies it after averaging over samples."""
    needs_teacher: bool = True
    needs_teacher_inputs: bool = False
    """Whether the batch must carry the teacher's inputs: its cached outputs are not enough."""
    weight_schedule: WeightScheduleSpec = WeightScheduleSpec()
    """Set by `build_method` from the spec."""
    balance: GradientBalance | None
    """Where weights are ratios of gradient norms; set by `build_method` too."""

    def __init__(self) -> None:
        super().__init__()
        # Of the instance: as an attribute of the class, None would hide the module that is set later.
        self.balance = None

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """Unweighted loss terms, each of shape [B]; the keys are those of `weights`.

        A loss over the batch as a whole gives its value for every sample, so that the mean is the loss.
        """
        raise NotImplementedError

    def teach(self, lessons: Sequence[StepViews | None]) -> dict[str, Float[Tensor, " _"]]:
        """The terms of a step, by all teachers: those of the only one here.

        Args:
            lessons: One for each teacher; None where no row of the batch has a view of it, which gives no
                terms.
        """
        (views,) = lessons
        return {} if views is None else self.terms(views)

    def weights_at(self, progress: float) -> dict[str, float]:
        """Weights at a share 0..1 of all steps, by the weight schedule."""
        factor = weight_factor(self.weight_schedule, progress)
        return {name: factor * weight for name, weight in self.weights.items()}


def weight_factor(spec: WeightScheduleSpec, progress: float) -> float:
    """Factor of the distillation weights, 0..1, at a share 0..1 of all steps."""
    if progress < spec.warmup_frac:
        return progress / spec.warmup_frac
    if spec.decay == "none":
        return 1.0
    gone = (progress - spec.warmup_frac) / (1.0 - spec.warmup_frac)
    left = 1.0 - gone if spec.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * gone))
    return spec.end_factor + (1.0 - spec.end_factor) * left


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


def rows_of(views: StepViews, chosen: Int[Tensor, " p"]) -> StepViews:
    """The views of some samples of the batch, by their places in it."""

    def pick(output: ModelOutput | None) -> ModelOutput | None:
        return None if output is None else ModelOutput(*(part[chosen] for part in output))

    student = pick(views.student)
    assert student is not None
    return StepViews(
        student,
        pick(views.teacher),
        views.labels[chosen],
        None if views.positions is None else views.positions[chosen],
        None if views.teacher_inputs is None else views.teacher_inputs[chosen],
        None if views.row_weights is None else views.row_weights[chosen],
    )


def spread(per_batch: Tensor, num_samples: int) -> Float[Tensor, " b"]:
    """A loss over the batch as a value per sample."""
    return torch.broadcast_to(per_batch, (num_samples,))
