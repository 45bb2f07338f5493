from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fdkd_core.losses.relations import angle_relation, distance_relation


def pair(batch: int, student_dim: int, teacher_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    return (
        2 * torch.randn(batch, student_dim, generator=generator, dtype=torch.float64),
        torch.randn(batch, teacher_dim, generator=generator, dtype=torch.float64),
    )


def smooth_l1(gap: float) -> float:
    return 0.5 * gap**2 if abs(gap) < 1 else abs(gap) - 0.5


def naive_distances(student: np.ndarray, teacher: np.ndarray) -> list[float]:
    batch = len(student)

    def relative(features: np.ndarray) -> dict[tuple[int, int], float]:
        found = {(i, j): math.dist(features[i], features[j]) for i in range(batch) for j in range(batch)}
        positive = [value for value in found.values() if value > 0]
        return {key: value / (sum(positive) / len(positive)) for key, value in found.items()}

    s, t = relative(student), relative(teacher)
    return [sum(smooth_l1(s[i, j] - t[i, j]) for j in range(batch)) / batch for i in range(batch)]


def naive_angles(student: np.ndarray, teacher: np.ndarray) -> list[float]:
    batch = len(student)

    def cosine(features: np.ndarray, i: int, j: int, k: int) -> float:
        a, b = features[j] - features[i], features[k] - features[i]
        length = np.linalg.norm(a) * np.linalg.norm(b)
        return float(a @ b / length) if length > 0 else 0.0

    return [
        sum(
            smooth_l1(cosine(student, i, j, k) - cosine(teacher, i, j, k))
            for j in range(batch)
            for k in range(batch)
        )
        / batch**2
        for i in range(batch)
    ]


@pytest.mark.parametrize(("batch", "student_dim", "teacher_dim"), [(3, 2, 2), (5, 4, 7), (6, 1, 3)])
def test_relations_equal_loops(batch: int, student_dim: int, teacher_dim: int) -> None:
    student, teacher = pair(batch, student_dim, teacher_dim)
    np.testing.assert_allclose(
        distance_relation(student, teacher).numpy(), naive_distances(student.numpy(), teacher.numpy())
    )
    np.testing.assert_allclose(
        angle_relation(student, teacher).numpy(), naive_angles(student.numpy(), teacher.numpy())
    )


def test_values_by_hand() -> None:
    # On a line at 0, 1, 3: distances 1, 2, 3 over their mean 2. The teacher's are all 1 over their mean 1.
    student = torch.tensor([[0.0], [1.0], [3.0]])
    teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])
    gaps = {(0, 1): 0.5, (0, 2): -0.5, (1, 2): 0.0}
    found = distance_relation(student, teacher)
    share = 0.5 * gaps[0, 1] ** 2 / 3
    torch.testing.assert_close(found, torch.tensor([2 * share, share, share]))
    # Angles of the line are 0, 180 and 0 degrees, of the triangle 60: twice each, as (j, k) and (k, j).
    found = angle_relation(student, teacher)
    torch.testing.assert_close(found, torch.tensor([0.5 * 0.25, 1.5 - 0.5, 0.5 * 0.25]) * 2 / 9)


def test_relations_ignore_what_leaves_the_samples_in_place() -> None:
    student, teacher = pair(5, 3, 3)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    for loss in (distance_relation, angle_relation):
        assert loss(7.0 * teacher @ rotation + 2.0, teacher).abs().max() < 1e-9
        assert loss(student, teacher).min() > 0


def test_angles_in_groups_are_the_same_bits_and_gradients() -> None:
    student, teacher = pair(7, 4, 3)
    student.requires_grad_()
    whole = angle_relation(student, teacher)
    (expected,) = torch.autograd.grad(whole.sum(), student)
    for most_numbers in (1, 7 * 7 * 3, 7 * 7 * 6):
        grouped = angle_relation(student, teacher, most_numbers=most_numbers)
        torch.testing.assert_close(grouped, whole)
        # Twice, as where gradient norms are logged before the step.
        for _ in range(2):
            (found,) = torch.autograd.grad(grouped.sum(), student, retain_graph=True)
            torch.testing.assert_close(found, expected)


def test_angles_of_a_large_batch_stay_within_their_memory() -> None:
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    student, teacher = pair(48, 8, 8)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        angle_relation(student.requires_grad_(), teacher, most_numbers=48 * 48 * 2)
    assert max(kept, default=0) <= 48 * 48 * 2
    assert sum(kept) < 48**3


def test_samples_that_coincide_pull_with_finite_gradients() -> None:
    student = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0], [1.0 + 1e-7, 2.0]], requires_grad=True)
    teacher = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    for loss in (distance_relation, angle_relation):
        found = loss(student, teacher)
        (gradient,) = torch.autograd.grad(found.sum(), student)
        assert torch.isfinite(found).all()
        assert torch.isfinite(gradient).all()


def test_two_samples_have_nothing_to_compare() -> None:
    student, teacher = pair(2, 3, 4)
    assert distance_relation(student, teacher).abs().max() < 1e-12
    assert angle_relation(student, teacher).abs().max() < 1e-12
