"""Losses on maps, against loops over pixels."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fdkd_core.losses.pixels import averaged_to, pixel_cross_entropy, pixel_relation_kl, resized
from fdkd_core.spec.tasks import VOID

Loss = Callable[..., Tensor]
RELATIONS = functools.partial(pixel_relation_kl, temperature=0.1)


def maps(batch: int = 3, channels: int = 4, side: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, side, side + 1, generator=generator, dtype=torch.float64)


def masks(batch: int = 3, classes: int = 4, height: int = 2, width: int = 3) -> Tensor:
    found = torch.randint(classes, (batch, height, width), generator=torch.Generator().manual_seed(1))
    found[0, 0, 0] = found[1, :, 1] = VOID
    return found.to(torch.uint8)


def test_cross_entropy_by_hand() -> None:
    """Two pixels of log-odds ln 3, one right, one wrong, and one without a label."""
    logits = torch.tensor([[[[0.0, 0.0, 5.0]], [[math.log(3.0), math.log(3.0), -5.0]]]])
    found = pixel_cross_entropy(logits, torch.tensor([[[1, 0, VOID]]], dtype=torch.uint8))
    assert found.tolist() == pytest.approx([0.5 * (math.log(4 / 3) + math.log(4.0))])


def test_cross_entropy_is_that_of_a_loop() -> None:
    logits, labels = maps(), masks()
    expected = []
    for image, mask in zip(logits, labels, strict=True):
        losses = [
            -image[:, y, x].log_softmax(dim=0)[int(mask[y, x])]
            for y in range(2)
            for x in range(3)
            if mask[y, x] != VOID
        ]
        expected.append(sum(losses) / len(losses))
    torch.testing.assert_close(pixel_cross_entropy(logits, labels), torch.stack(expected))


def test_a_sample_without_labels_costs_nothing() -> None:
    logits = maps(2).requires_grad_()
    labels = masks(2)
    labels[0] = VOID
    found = pixel_cross_entropy(logits, labels)
    assert found[0] == 0.0
    found.sum().backward()
    assert torch.equal(logits.grad[0], torch.zeros_like(logits[0]))
    assert logits.grad[1].abs().sum() > 0


def test_logits_are_brought_to_the_size_of_the_mask() -> None:
    logits, labels = maps(side=2), masks(height=5, width=7)
    expected = pixel_cross_entropy(resized(logits, (5, 7)), labels)
    torch.testing.assert_close(pixel_cross_entropy(logits, labels), expected, rtol=0, atol=0)
    assert resized(logits, (2, 3)) is logits
    constant = torch.full((1, 1, 2, 2), 3.0)
    torch.testing.assert_close(resized(constant, (5, 3)), torch.full((1, 1, 5, 3), 3.0))


def test_shrinking_takes_all_places_into_account() -> None:
    whole = torch.zeros(1, 1, 8, 8)
    whole[0, 0, 1, 6] = 64.0
    assert averaged_to(whole, (1, 1)).item() > 0.0
    assert resized(whole, (1, 1)).item() == 0.0  # which looks at the middle four


def test_relations_by_hand() -> None:
    """One sample of two places: the teacher's are at right angles, the student's are the same."""
    teacher = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    student = torch.tensor([[[[1.0, 3.0]]]])
    sure = math.exp(1.0) / (math.exp(1.0) + 1.0)
    expected = sure * math.log(2 * sure) + (1 - sure) * math.log(2 * (1 - sure))
    found = pixel_relation_kl(student, teacher, temperature=1.0)
    assert found.tolist() == pytest.approx([expected])


def test_relations_are_those_of_a_loop() -> None:
    student, teacher, temperature = maps(channels=4), maps(channels=5, seed=2), 0.3

    def rows(image: Tensor) -> Tensor:
        flat = image.flatten(1).T
        return flat / flat.norm(dim=1, keepdim=True)

    expected = []
    for i in range(3):
        total = 0.0
        for j in range(3):
            tables = [
                (rows(side[i]) @ rows(side[j]).T / temperature).log_softmax(dim=1)
                for side in (student, teacher)
            ]
            total = total + (tables[1].exp() * (tables[1] - tables[0])).sum(dim=1).mean()
        expected.append(total / 3)
    torch.testing.assert_close(
        pixel_relation_kl(student, teacher, temperature=temperature), torch.stack(expected)
    )


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(RELATIONS, (maps().requires_grad_(), maps(seed=2)))
    loss = functools.partial(pixel_cross_entropy, masks_BHW=masks(height=3, width=4))
    assert torch.autograd.gradcheck(loss, (maps().requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_fp32(dtype: torch.dtype) -> None:
    student, teacher = maps().to(dtype), maps(seed=2).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        related, crossed = RELATIONS(student, teacher), pixel_cross_entropy(student, masks())
    assert related.dtype == crossed.dtype == torch.float32
    assert torch.equal(related, RELATIONS(student.float(), teacher.float()))
    assert torch.equal(crossed, pixel_cross_entropy(student.float(), masks()))


@pytest.mark.parametrize("case", ["zero", "equal", "huge"])
def test_values_and_gradients_are_finite_at_the_edges(case: str) -> None:
    teacher = maps().float()
    student = {"zero": torch.zeros_like(teacher), "equal": teacher.clone(), "huge": 1e4 * teacher}[case]
    student.requires_grad_()
    found = RELATIONS(student, teacher) + pixel_cross_entropy(student, masks())
    (gradient,) = torch.autograd.grad(found.sum(), student)
    assert torch.isfinite(found).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("shape", [(2, 4, 2, 3), (3, 4, 3, 3), (3, 4)])
def test_places_must_agree(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="same samples and places"):
        inspect.unwrap(pixel_relation_kl)(maps(), torch.zeros(shape), temperature=1.0)


def test_there_is_a_mask_for_each_sample() -> None:
    with pytest.raises(ValueError, match="3 samples have 2 masks"):
        inspect.unwrap(pixel_cross_entropy)(maps(), masks(2))
