from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from fdkd_core.losses.contrast import log_normalizer, noise_contrast


def sample(
    batch: int, others: int, dim: int = 4
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch * 10 + others)

    def units(rows: int) -> torch.Tensor:
        return functional.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64))

    return units(batch), units(batch), units(others), torch.rand(batch, others, generator=generator) < 0.7


@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize(("batch", "others"), [(1, 3), (3, 8)])
def test_equals_a_loop(batch: int, others: int, temperature: float) -> None:
    anchor, positive, memory, is_negative = sample(batch, others)
    rows = 20

    def score(a: torch.Tensor, v: torch.Tensor) -> float:
        return math.exp(sum(x * y for x, y in zip(a.tolist(), v.tolist(), strict=True)) / temperature)

    scores = [score(anchor[i], positive[i]) for i in range(batch)]
    scores += [score(anchor[i], memory[k]) for i in range(batch) for k in range(others) if is_negative[i, k]]
    z = rows * sum(scores) / len(scores)
    options = {"temperature": temperature, "num_rows": rows}
    log_z = log_normalizer(anchor, positive, memory, is_negative, **options)
    assert log_z.item() == pytest.approx(math.log(z))

    found = noise_contrast(anchor, positive, memory, is_negative, log_z, **options)
    for i in range(batch):
        noise = int(is_negative[i].sum()) / rows
        p = score(anchor[i], positive[i]) / z
        expected = -math.log(p / (p + noise))
        for k in range(others):
            if is_negative[i, k]:
                p = score(anchor[i], memory[k]) / z
                expected -= math.log(noise / (p + noise))
        assert found[i].item() == pytest.approx(expected)


def test_by_hand() -> None:
    # One negative of two rows: m / N = 1/2. Both scores are e^0 = 1, so that Z = 2 and P = 1/2: h = 1/2.
    anchor, memory = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    mask = torch.tensor([[True]])
    log_z = log_normalizer(anchor, memory, memory, mask, temperature=1.0, num_rows=2)
    assert log_z.item() == pytest.approx(math.log(2))
    found = noise_contrast(anchor, memory, memory, mask, log_z, temperature=1.0, num_rows=2)
    assert found.item() == pytest.approx(2 * math.log(2))


def test_only_negatives_push() -> None:
    anchor, positive, memory, _ = sample(2, 5)
    mask = torch.tensor([[True, False, True, False, True], [False, True, True, True, False]])
    options = {"temperature": 0.1, "num_rows": 9}
    found = noise_contrast(anchor, positive, memory, mask, torch.tensor(1.0), **options)
    changed = memory.clone()
    changed[1] = -changed[1]
    again = noise_contrast(anchor, positive, changed, mask, torch.tensor(1.0), **options)
    assert again[0] == found[0]
    assert again[1] != found[1]


def test_it_falls_towards_the_positive_and_away_from_negatives() -> None:
    anchor, _, memory, mask = sample(3, 6)
    options = {"temperature": 0.5, "num_rows": 6}
    near = noise_contrast(
        anchor, anchor, -anchor, ~torch.eye(3, dtype=torch.bool), torch.tensor(1.0), **options
    )
    far = noise_contrast(
        anchor, -anchor, anchor, ~torch.eye(3, dtype=torch.bool), torch.tensor(1.0), **options
    )
    assert (near < far).all()


def test_gradcheck() -> None:
    anchor, positive, memory, mask = sample(2, 4)
    assert torch.autograd.gradcheck(
        lambda a, v, m: noise_contrast(a, v, m, mask, torch.tensor(1.0), temperature=0.5, num_rows=4),
        (anchor.requires_grad_(), positive.requires_grad_(), memory.requires_grad_()),
    )


@pytest.mark.parametrize("temperature", [1e-3, 0.07, 100.0])
def test_finite_for_any_temperature_and_without_negatives(temperature: float) -> None:
    anchor, positive, memory, mask = (
        part.float() if part.is_floating_point() else part for part in sample(3, 5)
    )
    mask[0] = False
    anchor.requires_grad_()
    options = {"temperature": temperature, "num_rows": 5}
    log_z = log_normalizer(anchor, positive, memory, mask, **options).detach()
    found = noise_contrast(anchor, positive, memory, mask, log_z, **options)
    (gradient,) = torch.autograd.grad(found.sum(), anchor)
    assert torch.isfinite(log_z)
    assert torch.isfinite(found).all()
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(noise_contrast(anchor, positive, memory[:0], mask[:, :0], log_z, **options)).all()


def test_half_embeddings_are_computed_in_fp32_and_rows_follow() -> None:
    anchor, positive, memory, mask = sample(4, 5)
    options = {"temperature": 0.5, "num_rows": 5}
    half = noise_contrast(
        anchor.bfloat16(), positive.bfloat16(), memory.bfloat16(), mask, torch.tensor(1.0), **options
    )
    assert half.dtype == torch.float32
    order = torch.tensor([2, 0, 3, 1])
    found = noise_contrast(anchor, positive, memory, mask, torch.tensor(1.0), **options)
    moved = noise_contrast(anchor[order], positive[order], memory, mask[order], torch.tensor(1.0), **options)
    torch.testing.assert_close(moved, found[order])
