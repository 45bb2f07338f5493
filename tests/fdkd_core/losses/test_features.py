from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import pytest
import torch

from fdkd_core.losses.features import l2_normalize, log_squared_error, signed_log, squared_error


def pair(batch: int, dim: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch * 1000 + dim)
    return (
        torch.randn(batch, dim, generator=generator, dtype=dtype),
        torch.randn(batch, dim, generator=generator, dtype=dtype),
    )


@pytest.mark.parametrize(("batch", "dim"), [(1, 1), (1, 2), (2, 3), (5, 64), (2, 2048)])
def test_squared_error_equals_a_loop(batch: int, dim: int) -> None:
    student, teacher = pair(batch, dim)
    for row in range(batch):
        total = sum((student[row, d].item() - teacher[row, d].item()) ** 2 for d in range(dim))
        assert squared_error(student, teacher)[row].item() == pytest.approx(total)
        assert squared_error(student, teacher, reduction="mean")[row].item() == pytest.approx(total / dim)


def test_hand_computed_values() -> None:
    student, teacher = torch.tensor([[3.0, -1.0]]), torch.tensor([[1.0, 0.0]])
    assert squared_error(student, teacher).item() == 5.0
    # log 4 - log 2 = log 2; -log 2 - 0 = -log 2.
    assert log_squared_error(student, teacher).item() == pytest.approx(2 * math.log(2) ** 2)


@pytest.mark.parametrize("scale", [0.5, 1.0, 7.0])
@pytest.mark.parametrize(("batch", "dim"), [(1, 2), (2, 5), (2, 512)])
def test_log_squared_error_equals_a_loop(batch: int, dim: int, scale: float) -> None:
    student, teacher = pair(batch, dim)

    def s(value: float) -> float:
        return math.copysign(math.log(1 + scale * abs(value)) / scale, value)

    found = log_squared_error(student, teacher, scale=scale)
    for row in range(batch):
        total = sum((s(student[row, d].item()) - s(teacher[row, d].item())) ** 2 for d in range(dim))
        assert found[row].item() == pytest.approx(total)


def test_distances_are_zero_at_equality_and_symmetric() -> None:
    student, teacher = pair(3, 17)
    for distance in (squared_error, log_squared_error):
        assert distance(student, student).abs().max() == 0
        torch.testing.assert_close(distance(student, teacher), distance(teacher, student))


def test_distances_follow_permutations() -> None:
    student, teacher = pair(4, 9)
    rows, channels = torch.tensor([2, 0, 3, 1]), torch.randperm(9, generator=torch.Generator().manual_seed(1))
    for distance in (squared_error, log_squared_error):
        expected = distance(student, teacher)
        torch.testing.assert_close(distance(student[rows], teacher[rows]), expected[rows])
        torch.testing.assert_close(distance(student[:, channels], teacher[:, channels]), expected)


def test_sum_on_unit_vectors_is_two_minus_two_cosines() -> None:
    for dim in (4, 64, 512):
        student, teacher = map(l2_normalize, pair(3, dim))
        cosine = torch.nn.functional.cosine_similarity(student, teacher)
        torch.testing.assert_close(squared_error(student, teacher), 2 - 2 * cosine)


def test_normalised_rows_have_norm_one_and_ignore_scale() -> None:
    x, _ = pair(3, 8)
    torch.testing.assert_close(l2_normalize(x).norm(dim=1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(l2_normalize(1e6 * x), l2_normalize(x))
    torch.testing.assert_close(l2_normalize(1e-5 * x), l2_normalize(x))


def test_zero_rows_stay_zero_and_pass_no_gradient() -> None:
    x = torch.zeros(2, 8, requires_grad=True)
    with torch.no_grad():
        x[1] = 1.0
    target = torch.ones(2, 8)
    squared_error(l2_normalize(x), target).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad[0].abs().max() == 0


@pytest.mark.parametrize("scale", [1.0, 22.6, 1e4])
def test_gradients_are_finite_at_zero(scale: float) -> None:
    x = torch.zeros(2, 8, requires_grad=True)
    log_squared_error(x, torch.ones(2, 8), scale=scale).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_signed_log_is_odd_has_slope_one_and_tends_to_the_identity() -> None:
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    for scale in (0.1, 1.0, 30.0):
        torch.testing.assert_close(signed_log(-x, scale=scale), -signed_log(x, scale=scale))
        small = torch.tensor(1e-9, dtype=torch.float64)
        assert (signed_log(small, scale=scale) / small).item() == pytest.approx(1.0, rel=1e-6)
        assert (signed_log(x, scale=scale).diff() > 0).all()
    torch.testing.assert_close(signed_log(x, scale=1e-9), x, atol=1e-7, rtol=1e-7)


def test_log_error_relaxes_only_when_entries_reach_the_bend() -> None:
    """Why `log_scale` exists: on unit vectors logMSE with a = 1 is nearly MSE."""
    student, teacher = map(l2_normalize, pair(16, 512))
    plain = squared_error(student, teacher)
    as_written = log_squared_error(student, teacher, scale=1.0)
    relaxed = log_squared_error(student, teacher, scale=math.sqrt(512))
    assert (as_written / plain).min() > 0.9
    assert (relaxed / plain).max() < 0.6


@pytest.mark.parametrize("distance", [squared_error, log_squared_error])
def test_gradcheck(distance: Callable[..., torch.Tensor]) -> None:
    student, teacher = pair(2, 5)
    assert torch.autograd.gradcheck(
        lambda s, t: distance(s, t), (student.requires_grad_(), teacher.requires_grad_())
    )


def test_gradcheck_normalise() -> None:
    x, _ = pair(2, 5)
    assert torch.autograd.gradcheck(l2_normalize, (x.requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_fp32(dtype: torch.dtype) -> None:
    student, teacher = (x.to(dtype) for x in pair(2, 64))
    found = squared_error(student, teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, squared_error(student.float(), teacher.float()), atol=0, rtol=0)


@pytest.mark.parametrize("distance", [squared_error, log_squared_error])
@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((2, 3), (1, 3)), ((2, 3), (3,))])
def test_shapes_must_agree(
    distance: Callable[..., torch.Tensor], shapes: tuple[tuple[int, ...], ...]
) -> None:
    # The bare function, without the shape checker that tests run under.
    with pytest.raises(ValueError, match="shape"):
        inspect.unwrap(distance)(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
