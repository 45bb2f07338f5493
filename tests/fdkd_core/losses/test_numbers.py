from __future__ import annotations

import inspect

import pytest
import torch

from fdkd_core.losses.numbers import half_squared_error, mean_huber


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, wanted = 2.0 * torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    return student, wanted


def huber(difference: float, delta: float) -> float:
    size = abs(difference)
    return size**2 / 2 if size <= delta else delta * (size - delta / 2)


@pytest.mark.parametrize("delta", [0.5, 2.0])
def test_losses_equal_loops(delta: float) -> None:
    student, wanted = pair()
    squares, found = half_squared_error(student, wanted), mean_huber(student, wanted, delta=delta)
    for row in range(4):
        differences = (student[row] - wanted[row]).tolist()
        assert squares[row].item() == pytest.approx(sum(d * d for d in differences) / 2 / 3)
        assert found[row].item() == pytest.approx(sum(huber(d, delta) for d in differences) / 3)


def test_losses_by_hand() -> None:
    student, wanted = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    # 9 / 2 and 1 / 2; Huber at 1: 1 * (3 - 1 / 2) and 1 / 2.
    assert half_squared_error(student, wanted).item() == pytest.approx((4.5 + 0.5) / 2)
    assert mean_huber(student, wanted, delta=1.0).item() == pytest.approx((2.5 + 0.5) / 2)


def test_they_are_the_same_near_the_label() -> None:
    student, wanted = pair()
    torch.testing.assert_close(mean_huber(student, wanted, delta=1e3), half_squared_error(student, wanted))


def test_labels_may_be_of_another_precision() -> None:
    student, wanted = pair()
    found = half_squared_error(student.float(), wanted)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, half_squared_error(student, wanted).float())


def test_gradcheck() -> None:
    student, wanted = pair()
    assert torch.autograd.gradcheck(lambda s: half_squared_error(s, wanted), (student.requires_grad_(),))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"answers.*\[2, 3\] and \[2, 1\]"):
        inspect.unwrap(half_squared_error)(torch.zeros(2, 3), torch.zeros(2, 1))
