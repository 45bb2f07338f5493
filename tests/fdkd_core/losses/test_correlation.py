from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fdkd_core.losses.correlation import (
    channel_distance,
    inter_class_distance,
    intra_class_distance,
    row_correlation,
    standardized_kl,
)
from fdkd_core.losses.logits import tempered_kl


def pair(batch: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch * 1000 + width)
    student, teacher = torch.randn(2, batch, width, generator=generator, dtype=torch.float64)
    return student, teacher


def pearson(first: list[float], second: list[float]) -> float:
    n = len(first)
    first_mean, second_mean = sum(first) / n, sum(second) / n
    above = sum((a - first_mean) * (b - second_mean) for a, b in zip(first, second, strict=True))
    first_part = sum((a - first_mean) ** 2 for a in first)
    second_part = sum((b - second_mean) ** 2 for b in second)
    return above / math.sqrt(first_part * second_part)


def softmax(row: list[float], temperature: float) -> list[float]:
    exact = [math.exp(value / temperature) for value in row]
    return [value / sum(exact) for value in exact]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize(("batch", "classes"), [(2, 3), (5, 4), (3, 7)])
def test_dist_equals_a_loop(batch: int, classes: int, temperature: float) -> None:
    student, teacher = pair(batch, classes)
    p_s = [softmax(row, temperature) for row in student.tolist()]
    p_t = [softmax(row, temperature) for row in teacher.tolist()]
    rows = [temperature**2 * (1 - pearson(p_s[i], p_t[i])) for i in range(batch)]
    columns = [pearson([row[c] for row in p_s], [row[c] for row in p_t]) for c in range(classes)]
    column_part = temperature**2 * (1 - sum(columns) / classes)
    found = inter_class_distance(student, teacher, temperature=temperature)
    np.testing.assert_allclose(found.numpy(), rows)
    found = intra_class_distance(student, teacher, temperature=temperature)
    np.testing.assert_allclose(found.numpy(), [column_part] * batch)


def test_row_correlation_by_hand() -> None:
    first = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 0.0, 0.0]])
    second = torch.tensor([[5.0, 7.0, 9.0], [3.0, 2.0, 1.0], [0.0, 1.0, 0.0]])
    torch.testing.assert_close(row_correlation(first, second), torch.tensor([1.0, -1.0, -0.5]))


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e4, 1e-3])
def test_constant_rows_and_columns_have_no_correlation(value: float) -> None:
    # A mean in fp32 is off by a rounding, which must not be taken for a variation and divided by its size.
    for length in range(2, 14):
        constant = torch.full((1, length), value, requires_grad=True)
        found = row_correlation(constant, torch.arange(float(length))[None])
        assert found.item() == 0.0
        (gradient,) = torch.autograd.grad(found.sum(), constant)
        assert gradient.abs().max() == 0.0
    even = torch.full((3, 3), value)
    assert inter_class_distance(even, torch.randn(3, 3), temperature=1.0).tolist() == [1.0] * 3
    assert intra_class_distance(even, torch.randn(3, 3), temperature=1.0).tolist() == [1.0] * 3


def test_dist_is_zero_at_equality_and_for_one_sample_by_column() -> None:
    logits, other = pair(4, 5)
    assert inter_class_distance(logits, logits, temperature=1.0).abs().max() < 1e-12
    assert intra_class_distance(logits, logits, temperature=1.0).abs().max() < 1e-12
    assert intra_class_distance(logits[:1], other[:1], temperature=1.0).tolist() == [0.0]


def test_two_classes_leave_rows_without_a_gradient() -> None:
    student, teacher = pair(3, 2)
    student.requires_grad_()
    found = inter_class_distance(student, teacher, temperature=1.0)
    assert set(found.round().tolist()) <= {0.0, 2.0}
    (gradient,) = torch.autograd.grad(found.sum(), student)
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize(("batch", "dim"), [(2, 1), (5, 4), (16, 3)])
def test_channel_distance_equals_a_loop_and_one_minus_the_correlation(batch: int, dim: int) -> None:
    student, teacher = pair(batch, dim)

    def standardised(column: list[float]) -> list[float]:
        mean = sum(column) / batch
        variance = sum((value - mean) ** 2 for value in column) / batch
        return [(value - mean) / math.sqrt(variance) for value in column]

    expected = [0.0] * batch
    for d in range(dim):
        s, t = standardised(student[:, d].tolist()), standardised(teacher[:, d].tolist())
        for i in range(batch):
            expected[i] += (s[i] - t[i]) ** 2 / (2 * dim)
    found = channel_distance(student, teacher, eps=0.0)
    np.testing.assert_allclose(found.numpy(), expected)
    correlations = [pearson(student[:, d].tolist(), teacher[:, d].tolist()) for d in range(dim)]
    assert found.mean().item() == pytest.approx(1 - sum(correlations) / dim)


def test_channel_distance_by_hand() -> None:
    # Standardised (1, -1) and (-1, 1): half the mean squared distance is 2 for each sample.
    assert channel_distance(torch.tensor([[3.0], [1.0]]), torch.tensor([[0.0], [8.0]]), eps=0.0).tolist() == [
        2,
        2,
    ]


def test_channel_distance_ignores_level_and_size_of_each_channel() -> None:
    student, teacher = pair(8, 5)
    moved = student * torch.tensor([2.0, 30.0, 0.5, 1.0, 7.0]) - 4.0
    torch.testing.assert_close(
        channel_distance(moved, teacher, eps=0.0), channel_distance(student, teacher, eps=0.0)
    )
    assert channel_distance(student, 3.0 * student + 1.0, eps=0.0).abs().max() < 1e-12


def test_channels_that_hardly_fire_do_not_blow_up_the_gradient() -> None:
    student = torch.zeros(64, 4)
    student[7, 2] = 1e-6
    student.requires_grad_()
    found = channel_distance(student, torch.randn(64, 4, generator=torch.Generator().manual_seed(0)))
    (gradient,) = torch.autograd.grad(found.mean(), student)
    assert gradient.abs().max() < 10


def test_a_single_sample_has_no_channel_distance() -> None:
    student, teacher = pair(1, 5)
    assert channel_distance(student, teacher).tolist() == [0.0]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("classes", [3, 10])
def test_standardized_kl_equals_a_loop(classes: int, temperature: float) -> None:
    student, teacher = pair(4, classes)

    def standardised(row: list[float]) -> list[float]:
        mean = sum(row) / classes
        deviation = math.sqrt(sum((value - mean) ** 2 for value in row) / classes)
        return [(value - mean) / deviation for value in row]

    found = standardized_kl(student, teacher, temperature=temperature)
    for i in range(4):
        p = softmax(standardised(teacher[i].tolist()), temperature)
        q = softmax(standardised(student[i].tolist()), temperature)
        expected = temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        assert found[i].item() == pytest.approx(expected)


def test_standardized_kl_asks_for_relations_not_for_range() -> None:
    _, teacher = pair(3, 5)
    student = 0.01 * teacher + 3.0
    assert standardized_kl(student, teacher, temperature=2.0).abs().max() < 1e-12
    assert tempered_kl(student, teacher, temperature=2.0).min() > 0.01


def test_standardized_kl_says_nothing_about_two_classes() -> None:
    student, teacher = pair(6, 2)
    student.requires_grad_()
    (gradient,) = torch.autograd.grad(standardized_kl(student, teacher, temperature=2.0).sum(), student)
    assert gradient.abs().max() < 1e-12
