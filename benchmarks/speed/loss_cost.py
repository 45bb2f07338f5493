"""The losses alone: forward and backward on ready features, without any network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from authors_step import Heads, loss_terms
from timing import Action
from torch import Tensor

from fdkd_core.frequency import split_bands
from fdkd_core.losses.logits import cross_entropy
from fdkd_core.methods import build_method
from fdkd_core.methods.base import MethodContext, StepViews
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import FDCMKDSpec, FeatureMSESpec, MethodSpec

DIM, CLASSES = 512, 10
CROSS_ENTROPY = "cross-entropy alone"


def loss_actions(batch_size: int, device: torch.device) -> dict[str, Action]:
    """Each action computes one loss and its gradient once."""
    generator = torch.Generator().manual_seed(0)

    def draw(columns: int) -> Tensor:
        return torch.randn(batch_size, columns, generator=generator).to(device)

    student = draw(DIM).abs().requires_grad_()
    logits = draw(CLASSES).requires_grad_()
    teacher = ModelOutput(draw(DIM).abs(), draw(CLASSES))
    labels = torch.randint(CLASSES, (batch_size,), generator=generator).to(device)
    views = StepViews(ModelOutput(student, logits), teacher, labels)
    heads = Heads(DIM, CLASSES).to(device)

    def method(spec: MethodSpec) -> Callable[[], Tensor]:
        built = build_method(spec, MethodContext(student_dim=DIM, teacher_dim=DIM, num_classes=CLASSES)).to(
            device
        )
        parameters.extend(built.parameters())
        return lambda: torch.stack([term.mean() for term in built.terms(views).values()]).sum()

    def split() -> Tensor:
        low, high = split_bands(student, cutoff=0.5)
        return low.mean() + high.mean()

    parameters: list[Tensor] = [student, logits, *heads.parameters()]
    losses: dict[str, Callable[[], Tensor]] = {
        CROSS_ENTROPY: lambda: cross_entropy(logits, labels).mean(),
        "feature MSE": method(FeatureMSESpec()),
        "band split alone": split,
        "FD-CMKD, distances only": method(FDCMKDSpec(shared_classifier=False, band_heads=False)),
        "FD-CMKD, all terms": method(FDCMKDSpec()),
        "authors' terms": lambda: torch.stack(
            list(loss_terms(student, teacher.features, labels, heads).values())
        ).sum(),
    }

    def action(loss: Callable[[], Tensor]) -> Action:
        def run() -> None:
            for parameter in parameters:
                parameter.grad = None
            loss().backward()  # type: ignore[no-untyped-call]

        return run

    return {name: action(loss) for name, loss in losses.items()}
