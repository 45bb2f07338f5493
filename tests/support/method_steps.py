"""One training step as a method sees it, of random features: no data, no loop."""

from __future__ import annotations

import torch

from fdkd_core.methods import build_method
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.models.mlp import MLP
from fdkd_core.spec import MethodSpec

CLASSES = 3
NUM_ROWS = 12
TEACHER_INPUTS = 5


def views(
    batch: int = 4, student_dim: int = 16, teacher_dim: int = 16, seed: int = 0, classes: int = CLASSES
) -> StepViews:
    """Outputs of both sides for the first `batch` training rows, the student's with gradients."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return StepViews(
        student=ModelOutput(
            random(batch, student_dim).relu().requires_grad_(), random(batch, classes).requires_grad_()
        ),
        teacher=ModelOutput(random(batch, teacher_dim).relu(), random(batch, classes)),
        labels=torch.arange(batch) % classes,
        positions=torch.arange(batch),
        teacher_inputs=random(batch, TEACHER_INPUTS),
    )


def in_float64(step: StepViews) -> StepViews:
    """The same step with exact comparisons in mind; the student's outputs are leaves again."""
    assert step.teacher is not None
    assert step.teacher_inputs is not None
    return step._replace(
        student=ModelOutput(*(part.detach().double().requires_grad_() for part in step.student)),
        teacher=ModelOutput(*(part.double() for part in step.teacher)),
        teacher_inputs=step.teacher_inputs.double(),
    )


def teacher_model(teacher_dim: int = 16, classes: int = CLASSES) -> Backbone:
    """A small frozen teacher, as a job hands it to a method."""
    return MLP(TEACHER_INPUTS, classes, teacher_dim, 1, 0.3).eval().requires_grad_(False)


def build(
    spec: MethodSpec, student_dim: int = 16, teacher_dim: int = 16, classes: int = CLASSES, seed: int = 0
) -> Method:
    """The method with its initial parameters: the same at every call."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    return build_method(
        spec,
        MethodContext(
            student_dim=student_dim,
            teacher_dim=teacher_dim,
            num_classes=classes,
            teacher_outputs=ModelOutput(
                torch.randn(NUM_ROWS, teacher_dim, generator=generator),
                torch.randn(NUM_ROWS, classes, generator=generator),
            ),
            labels=torch.arange(NUM_ROWS) % classes,
            num_rows=NUM_ROWS,
            teacher_model=teacher_model(teacher_dim, classes),
            seed=seed,
        ),
    )
