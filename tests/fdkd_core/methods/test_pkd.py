from __future__ import annotations

import torch
from method_steps import build, views
from torch import nn

from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import PKDSpec


def test_it_is_one_minus_the_correlation_of_each_channel() -> None:
    step = views(12, 4, 4)
    found = build(PKDSpec(), 4, 4).terms(step)["feature"].mean()
    student, teacher = step.student.features.double(), step.teacher.features.double()
    correlations = [torch.corrcoef(torch.stack([student[:, d], teacher[:, d]]))[0, 1] for d in range(4)]
    torch.testing.assert_close(found.double(), 1 - torch.stack(correlations).mean(), atol=1e-3, rtol=0)


def test_there_is_a_projector_where_widths_differ_or_one_is_asked_for() -> None:
    assert list(build(PKDSpec()).parameters()) == []
    assert isinstance(build(PKDSpec(), 6, 8).projector, nn.Linear)
    assert isinstance(build(PKDSpec(projector="linear")).projector, nn.Linear)


def test_level_and_size_of_a_channel_do_not_count() -> None:
    step = views(8)
    scale = torch.linspace(0.5, 4.0, 16)
    like = ModelOutput(scale * step.teacher.features + 2.0, step.student.logits)
    assert build(PKDSpec()).terms(step._replace(student=like))["feature"].max() < 1e-3


def test_a_single_row_says_nothing() -> None:
    assert build(PKDSpec()).terms(views(1))["feature"].tolist() == [0.0]
