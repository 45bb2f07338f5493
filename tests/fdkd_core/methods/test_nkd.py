from __future__ import annotations

import torch
from method_steps import build, views
from torch.nn import functional

from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import NKDSpec


def test_it_equals_its_definition() -> None:
    step = views(5)
    terms = build(NKDSpec(temperature=2.0)).terms(step)
    for i, y in enumerate(step.labels.tolist()):
        student, teacher = step.student.logits[i], step.teacher.logits[i]
        torch.testing.assert_close(terms["target"][i], -teacher.softmax(0)[y] * student.log_softmax(0)[y])
        others = [c for c in range(3) if c != y]
        q = (teacher[others] / 2).softmax(0)
        expected = 4 * functional.cross_entropy(student[others][None] / 2, q[None])
        torch.testing.assert_close(terms["non_target"][i], expected)


def test_default_weights_are_the_papers() -> None:
    assert build(NKDSpec()).weights == {"target": 1.0, "non_target": 1.5}


def test_two_classes_leave_the_target_term() -> None:
    terms = build(NKDSpec(), classes=2).terms(views(4, classes=2))
    assert terms["non_target"].tolist() == [0.0] * 4
    assert terms["target"].min() > 0


def test_a_teacher_that_does_not_believe_the_label_asks_for_less() -> None:
    step = views(4)
    doubtful = step.teacher.logits - 5.0 * functional.one_hot(step.labels, 3)
    terms = build(NKDSpec()).terms(step._replace(teacher=ModelOutput(step.teacher.features, doubtful)))
    assert (terms["target"] < build(NKDSpec()).terms(step)["target"]).all()
