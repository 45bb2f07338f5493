from __future__ import annotations

import torch
from method_steps import build, views

from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import RKDSpec


def test_angles_weigh_twice_as_much_and_there_is_nothing_to_train() -> None:
    method = build(RKDSpec(), 6, 9)
    assert method.weights["angle"] == 2 * method.weights["distance"] > 0  # as in the paper
    assert list(method.parameters()) == []


def test_a_teacher_turned_and_resized_is_matched_in_other_widths() -> None:
    step = views(6, 20, 16)
    turn = torch.linalg.qr(torch.randn(20, 16, generator=torch.Generator().manual_seed(3)))[0]
    like = ModelOutput(3.0 * step.teacher.features @ turn.T - 1.0, step.student.logits)
    for term in build(RKDSpec(), 20, 16).terms(step._replace(student=like)).values():
        assert term.max() < 1e-6
    for term in build(RKDSpec(), 20, 16).terms(step).values():
        assert term.min() > 1e-3


def test_the_mean_over_samples_is_the_published_loss() -> None:
    step = views(5)
    terms = build(RKDSpec()).terms(step)
    student, teacher = step.student.features, step.teacher.features

    def distances(features: torch.Tensor) -> torch.Tensor:
        found = (features[None] - features[:, None]).norm(dim=2)
        return found / found[found > 0].mean()

    def angles(features: torch.Tensor) -> torch.Tensor:
        sides = torch.nn.functional.normalize(features[None] - features[:, None], dim=2)
        return torch.bmm(sides, sides.transpose(1, 2))

    smooth_l1 = torch.nn.functional.smooth_l1_loss
    torch.testing.assert_close(terms["distance"].mean(), smooth_l1(distances(student), distances(teacher)))
    torch.testing.assert_close(terms["angle"].mean(), smooth_l1(angles(student), angles(teacher)))


def test_copies_of_a_sample_in_a_batch_are_no_trouble() -> None:
    step = views(6)
    twice = step.student.features.detach()[[0, 0, 1, 2, 2, 2]].requires_grad_()
    terms = build(RKDSpec()).terms(step._replace(student=ModelOutput(twice, step.student.logits)))
    (gradient,) = torch.autograd.grad(sum(term.mean() for term in terms.values()), twice)
    assert torch.isfinite(gradient).all()
