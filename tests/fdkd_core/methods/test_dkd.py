from __future__ import annotations

import pytest
import torch
from method_steps import build, views

from fdkd_core.losses.logits import tempered_kl
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import DKDSpec, WeightScheduleSpec


def test_weights_warm_up_over_the_papers_share_of_training() -> None:
    method = build(DKDSpec(target_weight=1.0, non_target_weight=8.0))
    assert method.weights == {"target": 1.0, "non_target": 8.0}
    assert method.weights_at(0.0) == {"target": 0.0, "non_target": 0.0}
    assert method.weights_at(0.04) == {"target": pytest.approx(0.5), "non_target": pytest.approx(4.0)}
    assert method.weights_at(20 / 240) == method.weights_at(1.0) == method.weights


def test_the_warm_up_can_be_switched_off() -> None:
    method = build(DKDSpec(weight_schedule=WeightScheduleSpec()))
    assert method.weights_at(0.0) == method.weights


def test_the_terms_add_up_to_logit_distillation() -> None:
    step = views(5)
    terms = build(DKDSpec()).terms(step)
    believed = (step.teacher.logits / 4).softmax(1).gather(1, step.labels[:, None]).squeeze(1)
    torch.testing.assert_close(
        terms["target"] + (1 - believed) * terms["non_target"],
        tempered_kl(step.student.logits, step.teacher.logits, temperature=4.0),
    )


def test_two_classes_leave_the_target_term() -> None:
    step = views(4, classes=2)
    terms = build(DKDSpec(), classes=2).terms(step)
    assert terms["non_target"].tolist() == [0.0] * 4
    torch.testing.assert_close(
        terms["target"], tempered_kl(step.student.logits, step.teacher.logits, temperature=4.0)
    )


def test_a_sure_teacher_still_teaches_the_other_classes() -> None:
    """What the decoupling is for: in the plain KL, the others' share is 1 - p_y of the teacher."""
    step = views(4)
    sure = step.teacher.logits + 40.0 * torch.nn.functional.one_hot(step.labels, 3)
    terms = build(DKDSpec()).terms(step._replace(teacher=ModelOutput(step.teacher.features, sure)))
    torch.testing.assert_close(terms["non_target"], build(DKDSpec()).terms(step)["non_target"])
