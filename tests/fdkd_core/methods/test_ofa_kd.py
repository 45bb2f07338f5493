from __future__ import annotations

import pytest
import torch
from method_steps import build, views

from fdkd_core.losses.logits import cross_entropy
from fdkd_core.spec import OFAKDSpec


def published(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, gamma: float
) -> torch.Tensor:
    """-(1 + p_t,y)^g log p_s,y - sum over the other classes of p_t log p_s."""
    found = []
    for s, t, y in zip(student.log_softmax(1), teacher.softmax(1), labels.tolist(), strict=True):
        others = sum(t[c] * s[c] for c in range(len(s)) if c != y)
        found.append(-((1 + t[y]) ** gamma) * s[y] - others)
    return torch.stack(found)


@pytest.mark.parametrize("gamma", [1.0, 1.5])
def test_exit_and_classifier_learn_the_published_loss(gamma: float) -> None:
    step, method = views(5), build(OFAKDSpec(gamma=gamma))
    terms = method.terms(step)
    teacher = step.teacher.logits
    expected = published(method.exit(step.student.features), teacher, step.labels, gamma)
    torch.testing.assert_close(terms["exit"], expected)
    # The classifier's cross-entropy is the task loss already.
    task = cross_entropy(step.student.logits, step.labels)
    expected = published(step.student.logits, teacher, step.labels, gamma)
    torch.testing.assert_close(task + terms["logit"], expected)


def test_the_exit_goes_through_the_teachers_width() -> None:
    shapes = [tuple(parameter.shape) for parameter in build(OFAKDSpec(), 6, 9).parameters()]
    assert shapes == [(9, 6), (9,), (3, 9), (3,)]


def test_gamma_strengthens_the_right_class_where_the_teacher_is_sure() -> None:
    step = views(8)
    gain = build(OFAKDSpec(gamma=3.0)).terms(step)["logit"] - build(OFAKDSpec()).terms(step)["logit"]
    believed = step.teacher.logits.softmax(1).gather(1, step.labels[:, None]).squeeze(1)
    per_nat = gain / cross_entropy(step.student.logits, step.labels)
    assert (per_nat[believed.argsort()].diff() > 0).all()
