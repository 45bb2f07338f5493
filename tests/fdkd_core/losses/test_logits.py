from __future__ import annotations

import inspect
import math

import pytest
import torch

from fdkd_core.losses.logits import cross_entropy, tempered_kl


def softmax(row: list[float], temperature: float) -> list[float]:
    exact = [math.exp(value / temperature) for value in row]
    return [value / sum(exact) for value in exact]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_tempered_kl_equals_a_loop(temperature: float) -> None:
    student = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    teacher = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = tempered_kl(student, teacher, temperature=temperature)
    for row in range(3):
        p = softmax(teacher[row].tolist(), temperature)
        q = softmax(student[row].tolist(), temperature)
        expected = temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        assert found[row].item() == pytest.approx(expected)


def test_tempered_kl_by_hand() -> None:
    # Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 log 3/2 + 1/4 log 1/2.
    teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert tempered_kl(student, teacher, temperature=1.0).item() == pytest.approx(expected, rel=1e-6)


def test_tempered_kl_ignores_a_shift_and_is_zero_at_equality() -> None:
    logits = torch.randn(2, 4, dtype=torch.float64)
    shifted = tempered_kl(logits, logits + 3.0, temperature=2.0)
    torch.testing.assert_close(shifted, torch.zeros(2, dtype=torch.float64))


def test_gradient_size_hardly_depends_on_temperature() -> None:
    student = torch.full((1, 3), 0.0, requires_grad=True)
    teacher = torch.tensor([[0.2, 0.0, -0.1]])
    norms = []
    for temperature in (4.0, 40.0):
        (gradient,) = torch.autograd.grad(
            tempered_kl(student, teacher, temperature=temperature).sum(), student
        )
        norms.append(gradient.norm().item())
    assert norms[0] == pytest.approx(norms[1], rel=0.05)


def test_gradcheck() -> None:
    student = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, t: tempered_kl(s, t, temperature=3.0), (student, teacher))


def test_extreme_logits_stay_finite() -> None:
    student = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = tempered_kl(student, torch.tensor([[-1e4, 1e4]]), temperature=4.0)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_half_logits_are_computed_in_fp32() -> None:
    student, teacher = torch.randn(2, 4).bfloat16(), torch.randn(2, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert tempered_kl(student, teacher, temperature=4.0).dtype == torch.float32
        assert cross_entropy(student, torch.tensor([0, 1])).dtype == torch.float32


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0]])
    assert cross_entropy(logits, torch.tensor([0])).item() == pytest.approx(math.log(4 / 3), rel=1e-6)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ"):
        inspect.unwrap(tempered_kl)(torch.zeros(2, 3), torch.zeros(2, 4), temperature=1.0)
