from __future__ import annotations

import math

import pytest
import torch

from fdkd_core.losses.binary import binary_cross_entropy, tempered_binary_kl


def pair(batch: int = 3, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = 2.0 * torch.randn(2, batch, classes, generator=generator, dtype=torch.float64)
    return student, teacher


def sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))


def test_cross_entropy_equals_a_loop() -> None:
    logits, other = pair()
    labels = (other > 0).double()
    found = binary_cross_entropy(logits, labels)
    for row in range(3):
        expected = 0.0
        for z, y in zip(logits[row].tolist(), labels[row].tolist(), strict=True):
            expected -= y * math.log(sigmoid(z)) + (1 - y) * math.log(1 - sigmoid(z))
        assert found[row].item() == pytest.approx(expected)


def test_cross_entropy_by_hand() -> None:
    # Probabilities 3/4 and 1/2, of which the first applies: log 4/3 + log 2.
    found = binary_cross_entropy(torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[1.0, 0.0]]))
    assert found.item() == pytest.approx(math.log(4 / 3) + math.log(2.0), rel=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_equals_a_loop(temperature: float) -> None:
    student, teacher = pair()
    found = tempered_binary_kl(student, teacher, temperature=temperature)
    for row in range(3):
        expected = 0.0
        for s, t in zip(student[row].tolist(), teacher[row].tolist(), strict=True):
            p, q = sigmoid(t / temperature), sigmoid(s / temperature)
            expected += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        assert found[row].item() == pytest.approx(temperature**2 * expected)


def test_kl_by_hand() -> None:
    # Teacher 3/4, student 1/2, of one class: 3/4 log 3/2 + 1/4 log 1/2.
    found = tempered_binary_kl(torch.zeros(1, 1), torch.tensor([[math.log(3.0)]]), temperature=1.0)
    assert found.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)


def test_kl_is_that_of_a_softmax_over_yes_and_no() -> None:
    from fdkd_core.losses.logits import tempered_kl

    student, teacher = pair(5, 1)
    pairs = [torch.cat([side, torch.zeros_like(side)], dim=1) for side in (student, teacher)]
    torch.testing.assert_close(
        tempered_binary_kl(student, teacher, temperature=3.0), tempered_kl(*pairs, temperature=3.0)
    )


def test_kl_is_zero_at_equality_alone() -> None:
    student, teacher = pair()
    torch.testing.assert_close(tempered_binary_kl(teacher, teacher, temperature=2.0), torch.zeros(3).double())
    assert (tempered_binary_kl(student, teacher, temperature=2.0) > 0).all()


def test_extreme_scores_stay_finite() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    for found in (
        binary_cross_entropy(logits, torch.tensor([[0.0, 1.0]])),
        tempered_binary_kl(logits, -logits.detach(), temperature=1.0),
    ):
        assert found.item() == pytest.approx(2e4)
        (gradient,) = torch.autograd.grad(found.sum(), logits)
        torch.testing.assert_close(gradient, torch.tensor([[1.0, -1.0]]))
