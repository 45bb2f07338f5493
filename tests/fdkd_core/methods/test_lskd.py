from __future__ import annotations

import pytest
import torch
from method_steps import build, views

from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import LogitKDSpec, LSKDSpec


def test_it_is_logit_distillation_of_standardised_logits() -> None:
    step = views(5)

    def standardised(output: ModelOutput) -> ModelOutput:
        logits = output.logits
        deviation = logits.std(dim=1, correction=0, keepdim=True)
        return ModelOutput(output.features, (logits - logits.mean(dim=1, keepdim=True)) / deviation)

    plain = step._replace(student=standardised(step.student), teacher=standardised(step.teacher))
    torch.testing.assert_close(
        build(LSKDSpec()).terms(step)["logit"], build(LogitKDSpec(temperature=2.0)).terms(plain)["logit"]
    )


def test_the_weight_is_the_specs() -> None:
    assert build(LSKDSpec(weight=9.0)).weights == {"logit": 9.0}


def test_two_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 classes, found 2"):
        build(LSKDSpec(), classes=2)


def test_equal_logits_pass_no_gradient() -> None:
    step = views()
    even = torch.full((4, 3), 1 / 3, requires_grad=True)
    term = build(LSKDSpec()).terms(step._replace(student=ModelOutput(step.student.features, even)))["logit"]
    (gradient,) = torch.autograd.grad(term.sum(), even)
    assert gradient.abs().max() == 0
