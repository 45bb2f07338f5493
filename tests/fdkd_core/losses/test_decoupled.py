from __future__ import annotations

import math

import pytest
import torch

from fdkd_core.losses.decoupled import (
    enhanced_target_cross_entropy,
    non_target_cross_entropy,
    non_target_kl,
    other_classes,
    soft_target_cross_entropy,
    target_class_kl,
)
from fdkd_core.losses.logits import cross_entropy, tempered_kl


def sample(batch: int, classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch * 100 + classes)
    student, teacher = 2 * torch.randn(2, batch, classes, generator=generator, dtype=torch.float64)
    return student, teacher, torch.randint(classes, (batch,), generator=generator)


def softmax(row: list[float], temperature: float) -> list[float]:
    exact = [math.exp(value / temperature) for value in row]
    return [value / sum(exact) for value in exact]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_every_part_equals_a_loop(classes: int, temperature: float) -> None:
    student, teacher, labels = sample(4, classes)
    targets = target_class_kl(student, teacher, labels, temperature=temperature)
    others = non_target_kl(student, teacher, labels, temperature=temperature)
    crossed = non_target_cross_entropy(student, teacher, labels, temperature=temperature)
    soft = soft_target_cross_entropy(student, teacher, labels)
    enhanced = enhanced_target_cross_entropy(student, teacher, labels, gamma=1.5, temperature=temperature)
    for i in range(4):
        y, s, t = int(labels[i]), student[i].tolist(), teacher[i].tolist()
        p_s, p_t = softmax(s, temperature), softmax(t, temperature)
        expected = temperature**2 * kl([p_t[y], 1 - p_t[y]], [p_s[y], 1 - p_s[y]])
        assert targets[i].item() == pytest.approx(expected)
        q_s = softmax([s[c] for c in range(classes) if c != y], temperature)
        q_t = softmax([t[c] for c in range(classes) if c != y], temperature)
        assert others[i].item() == pytest.approx(temperature**2 * kl(q_t, q_s), abs=1e-12)
        expected = -(temperature**2) * sum(a * math.log(b) for a, b in zip(q_t, q_s, strict=True))
        assert crossed[i].item() == pytest.approx(expected, abs=1e-12)
        assert soft[i].item() == pytest.approx(-softmax(t, 1.0)[y] * math.log(softmax(s, 1.0)[y]))
        expected = -((1 + p_t[y]) ** 1.5 - 1) * math.log(p_s[y])
        expected -= sum(p_t[c] * math.log(p_s[c]) for c in range(classes) if c != y)
        assert enhanced[i].item() == pytest.approx(expected)


def test_values_by_hand() -> None:
    # Teacher (1/2, 3/8, 1/8), student (1/4, 3/8, 3/8), label 0.
    teacher = torch.tensor([[4.0, 3.0, 1.0]]).log()
    student = torch.tensor([[2.0, 3.0, 3.0]]).log()
    label = torch.tensor([0])
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert target_class_kl(student, teacher, label, temperature=1.0).item() == pytest.approx(
        expected, rel=1e-5
    )
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # q_t = (3/4, 1/4), q_s = (1/2, 1/2)
    assert non_target_kl(student, teacher, label, temperature=1.0).item() == pytest.approx(expected, rel=1e-5)
    found = non_target_cross_entropy(student, teacher, label, temperature=1.0)
    assert found.item() == pytest.approx(math.log(2), rel=1e-6)
    assert soft_target_cross_entropy(student, teacher, label).item() == pytest.approx(math.log(2), rel=1e-6)
    found = enhanced_target_cross_entropy(student, teacher, label, gamma=2.0, temperature=1.0)
    expected = (1.5**2 - 1) * math.log(4) + 0.5 * math.log(8 / 3)
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 100])
def test_the_parts_add_up_to_the_plain_divergence(classes: int) -> None:
    """KL = TCKD + (1 - p_y of the teacher) NCKD: Zhao et al., eq. 6."""
    student, teacher, labels = sample(5, classes)
    believed = (teacher / 4).softmax(1).gather(1, labels[:, None]).squeeze(1)
    found = target_class_kl(student, teacher, labels, temperature=4.0) + (1 - believed) * non_target_kl(
        student, teacher, labels, temperature=4.0
    )
    torch.testing.assert_close(found, tempered_kl(student, teacher, temperature=4.0))


def test_divergences_are_zero_at_equality_and_with_two_classes() -> None:
    student, teacher, labels = sample(5, 6)
    assert target_class_kl(teacher, teacher, labels, temperature=4.0).abs().max() < 1e-12
    assert non_target_kl(teacher, teacher, labels, temperature=4.0).abs().max() < 1e-12
    labels = labels % 2
    assert non_target_kl(student[:, :2], teacher[:, :2], labels, temperature=4.0).tolist() == [0.0] * 5
    assert (
        non_target_cross_entropy(student[:, :2], teacher[:, :2], labels, temperature=4.0).tolist() == [0] * 5
    )


def test_non_target_parts_do_not_look_at_the_own_class() -> None:
    student, teacher, labels = sample(4, 5)
    moved = student.scatter_add(1, labels[:, None], torch.full((4, 1), 9.0, dtype=torch.float64))
    for loss in (non_target_kl, non_target_cross_entropy):
        torch.testing.assert_close(
            loss(moved, teacher, labels, temperature=2.0), loss(student, teacher, labels, temperature=2.0)
        )


def test_cross_entropy_and_divergence_differ_by_the_teachers_entropy() -> None:
    student, teacher, labels = sample(4, 5)
    gap = non_target_cross_entropy(student, teacher, labels, temperature=2.0) - non_target_kl(
        student, teacher, labels, temperature=2.0
    )
    q = (other_classes(teacher, labels) / 2).softmax(1)
    torch.testing.assert_close(gap, -4 * (q * q.log()).sum(1))


def test_enhanced_target_without_enhancement_is_cross_entropy_with_soft_labels() -> None:
    student, teacher, labels = sample(4, 5)
    found = enhanced_target_cross_entropy(student, teacher, labels, gamma=1.0, temperature=1.0)
    torch.testing.assert_close(found, -(teacher.softmax(1) * student.log_softmax(1)).sum(1))
    # Without an exponent nothing is said of the right class, beyond cross-entropy.
    none = enhanced_target_cross_entropy(student, teacher, labels, gamma=0.0, temperature=1.0)
    own = teacher.softmax(1).gather(1, labels[:, None]).squeeze(1) * cross_entropy(student, labels)
    torch.testing.assert_close(found - none, own)


def test_other_classes_are_those_in_their_order() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]])
    assert other_classes(logits, torch.tensor([0, 1, 2])).tolist() == [[1, 2], [3, 5], [6, 7]]


def test_a_sure_teacher_and_a_wrong_student_stay_finite() -> None:
    student = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
    teacher, label = torch.tensor([[1e4, -1e4, 0.0]]), torch.tensor([0])
    found = target_class_kl(student, teacher, label, temperature=4.0) + non_target_kl(
        student, teacher, label, temperature=4.0
    )
    (gradient,) = torch.autograd.grad(found.sum(), student)
    assert torch.isfinite(found).all()
    assert torch.isfinite(gradient).all()
