"""Whether the losses are right on this device: against float64 on the CPU, in fp32 and in bf16 autocast.

That the float64 values are themselves right is for the tests, which recompute them naively.
"""

from __future__ import annotations

import copy

import torch
from figures import Row
from loss_cost import CLASSES, DIM
from torch import Tensor

from fdkd_core.methods import build_method
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import FDCMKDSpec, FeatureMSESpec, LogitKDSpec, MethodSpec

SPECS: dict[str, MethodSpec] = {
    "FD-CMKD": FDCMKDSpec(),
    "FD-CMKD, authors' reduction": FDCMKDSpec(reduction="mean", log_scale=1.0),
    "feature MSE": FeatureMSESpec(),
    "logit KD": LogitKDSpec(),
}
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Relative. fp32 has 7 digits. bf16 has fewer than 3, in which the heads are multiplied and the gradient is
handed back; the distances are in fp32 for either."""


def check_losses(batch_size: int, device: torch.device) -> list[Row]:
    """Largest relative error of any term or of the gradient of the student's output, per method and type."""
    rows = []
    for name, spec in SPECS.items():
        torch.manual_seed(0)
        method = build_method(
            spec, MethodContext(student_dim=DIM, teacher_dim=DIM, num_classes=CLASSES)
        ).double()
        # Features are post-ReLU averages, so not negative.
        student, teacher = torch.rand(2, batch_size, DIM)
        tensors = [student, torch.randn(batch_size, CLASSES), teacher, torch.randn(batch_size, CLASSES)]
        labels = torch.randint(CLASSES, (batch_size,))
        for dtype in TOLERANCE:
            # The reference gets the features as rounded as the network hands them over. Rounding alone moves
            # the gradient by 4 %, in exact arithmetic too: entries of a band near 0 change sides of the ReLU.
            given = [tensor.to(dtype) for tensor in tensors]
            expected = _terms_and_gradients(method, [tensor.double() for tensor in given], labels)
            # Under autocast features are bf16, while weights stay fp32.
            here = copy.deepcopy(method).float().to(device)
            found = _terms_and_gradients(here, [tensor.to(device) for tensor in given], labels.to(device))
            error = max(_relative_error(found[key], expected[key]) for key in expected)
            label = "fp32" if dtype == torch.float32 else "bf16"
            rows.append(Row(f"loss_error_{label}", name, "relative", error, error, error, 1))
    return rows


def failures(rows: list[Row]) -> list[str]:
    """What is beyond tolerance, in words."""
    limits = {"loss_error_fp32": TOLERANCE[torch.float32], "loss_error_bf16": TOLERANCE[torch.bfloat16]}
    return [
        f"{row.variant}: {row.measure} is {row.median:.2g}, above {limits[row.measure]:g}"
        for row in rows
        # Written so that a NaN fails too.
        if row.measure in limits and not row.median <= limits[row.measure]
    ]


def _terms_and_gradients(method: Method, tensors: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
    # Copies: a conversion to the type that is there already would share one gradient between calls.
    features, logits, *teacher = (tensor.detach().clone() for tensor in tensors)
    features.requires_grad_()
    logits.requires_grad_()
    views = StepViews(ModelOutput(features, logits), ModelOutput(*teacher), labels)
    with torch.autocast(features.device.type, torch.bfloat16, enabled=features.dtype == torch.bfloat16):
        terms = method.terms(views)
    torch.stack([term.mean() for term in terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
    leaves = {"feature gradient": features.grad, "logit gradient": logits.grad}
    terms = {name: term.detach() for name, term in terms.items()}
    return terms | {name: gradient for name, gradient in leaves.items() if gradient is not None}


def _relative_error(found: Tensor, expected: Tensor) -> float:
    difference = found.cpu().double() - expected
    return float(difference.norm() / expected.norm())
