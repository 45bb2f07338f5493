from __future__ import annotations

import inspect
import math

import pytest
import torch

from fdkd_core.losses.embeddings import embedding_distance, pair_contrast, supervised_contrast


def sample(batch: int, dim: int = 5, labels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(10 * batch + dim)
    embeddings = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(labels, (batch,), generator=generator)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize(("batch", "labels"), [(2, 1), (7, 3), (9, 20)])
def test_equals_a_loop(batch: int, labels: int, temperature: float) -> None:
    embeddings, found_labels = sample(batch, labels=labels)
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in embeddings.tolist()]
    label = found_labels.tolist()

    def score(i: int, j: int) -> float:
        return math.exp(sum(x * y for x, y in zip(rows[i], rows[j], strict=True)) / temperature)

    found = supervised_contrast(embeddings, found_labels, temperature=temperature)
    for i in range(batch):
        total = sum(score(i, a) for a in range(batch) if a != i)
        right = [p for p in range(batch) if p != i and label[p] == label[i]]
        expected = -sum(math.log(score(i, p) / total) for p in right) / max(len(right), 1)
        assert found[i].item() == pytest.approx(expected, abs=1e-12)


def test_by_hand() -> None:
    # Cosines of the first row: 1 to the second, of its label, and 0 to the third: -log(e / (e + 1)).
    embeddings = torch.tensor([[2.0, 0.0], [5.0, 0.0], [0.0, 1.0]])
    found = supervised_contrast(embeddings, torch.tensor([4, 4, 7]), temperature=1.0)
    expected = -math.log(math.e / (math.e + 1.0))
    torch.testing.assert_close(found, torch.tensor([expected, expected, 0.0]))


def test_a_collapse_costs_the_logarithm_of_the_others() -> None:
    found = supervised_contrast(torch.ones(6, 3), torch.tensor([0, 0, 1, 1, 2, 2]), temperature=0.1)
    torch.testing.assert_close(found, torch.full((6,), math.log(5.0)))


def test_lengths_do_not_matter_and_order_is_kept() -> None:
    embeddings, labels = sample(8)
    found = supervised_contrast(embeddings, labels, temperature=0.3)
    lengths = torch.linspace(0.1, 9.0, 8, dtype=torch.float64)[:, None]
    torch.testing.assert_close(supervised_contrast(lengths * embeddings, labels, temperature=0.3), found)
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    torch.testing.assert_close(
        supervised_contrast(embeddings[order], labels[order], temperature=0.3), found[order]
    )


def test_gradcheck() -> None:
    embeddings, labels = sample(6)
    assert torch.autograd.gradcheck(
        lambda z: supervised_contrast(z, labels, temperature=0.5), (embeddings.requires_grad_(),)
    )
    student, teacher = sample(4)[0].requires_grad_(), sample(4, labels=2)[0] + 1.0
    assert torch.autograd.gradcheck(embedding_distance, (student, teacher))


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1.0, 1e4])
@pytest.mark.parametrize("are_equal", [True, False])
def test_values_and_gradients_are_finite_at_the_edges(batch: int, scale: float, are_equal: bool) -> None:
    embeddings = sample(batch)[0].float() * scale
    if are_equal:
        embeddings = embeddings[:1].repeat(batch, 1)
    embeddings.requires_grad_()
    for labels in (torch.zeros(batch, dtype=torch.int64), torch.arange(batch)):
        found = supervised_contrast(embeddings, labels, temperature=0.01)
        assert found.shape == (batch,)
        (gradient,) = torch.autograd.grad(found.sum(), embeddings)
        assert torch.isfinite(found).all()
        assert torch.isfinite(gradient).all()
        if len(set(labels.tolist())) == batch:
            assert found.abs().max() == 0.0


def vectors_of(labels: torch.Tensor, dim: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(30, dim, generator=generator, dtype=torch.float64)[labels]


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize(("batch", "labels"), [(1, 1), (7, 3), (9, 20)])
def test_pairs_equal_a_loop(batch: int, labels: int, temperature: float) -> None:
    embeddings, item = sample(batch, labels=labels)
    vectors = vectors_of(item)

    def score(i: int, j: int) -> float:
        norms = math.sqrt(float((embeddings[i] ** 2).sum()) * float((vectors[j] ** 2).sum()))
        product = sum(x * y for x, y in zip(embeddings[i].tolist(), vectors[j].tolist(), strict=True))
        return math.exp(product / norms / temperature)

    found = pair_contrast(embeddings, vectors, temperature=temperature)
    first = [item.tolist().index(index) for index in sorted(set(item.tolist()))]
    for i in range(batch):
        expected = -math.log(score(i, i) / sum(score(i, j) for j in first))
        assert found[i].item() == pytest.approx(expected, abs=1e-12)


def test_pairs_by_hand() -> None:
    # Cosines of 1 to the own vector, which two rows share, and 0 to the other: -log(e / (e + 1)).
    embeddings = torch.tensor([[2.0, 0.0], [5.0, 0.0], [0.0, 1.0]])
    vectors = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 0.5]])
    expected = -math.log(math.e / (math.e + 1.0))
    torch.testing.assert_close(
        pair_contrast(embeddings, vectors, temperature=1.0), torch.full((3,), expected)
    )


def test_pairs_have_finite_gradients_at_the_edges() -> None:
    for scale in (0.0, 1e-12, 1e4):
        embeddings = (scale * sample(4)[0].float()).requires_grad_()
        for vectors in (vectors_of(torch.arange(4)).float(), torch.zeros(4, 5)):
            found = pair_contrast(embeddings, vectors, temperature=0.01)
            (gradient,) = torch.autograd.grad(found.sum(), embeddings)
            assert torch.isfinite(found).all()
            assert torch.isfinite(gradient).all()
    embeddings, item = sample(6)
    assert torch.autograd.gradcheck(
        lambda z: pair_contrast(z, vectors_of(item), temperature=0.5), (embeddings.requires_grad_(),)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_fp32(dtype: torch.dtype) -> None:
    embeddings, labels = sample(6)
    with torch.autocast("cpu", torch.bfloat16):
        found = supervised_contrast(embeddings.to(dtype), labels, temperature=0.2)
    assert found.dtype == torch.float32
    expected = supervised_contrast(embeddings.to(dtype).float(), labels, temperature=0.2)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_the_distance_is_that_of_directions() -> None:
    student = torch.tensor([[3.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    teacher = torch.tensor([[1.0, 0.0], [0.0, 7.0], [-5.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(embedding_distance(student, teacher), torch.tensor([0.0, 2.0, 4.0, 1.0]))


@pytest.mark.parametrize("shapes", [((2, 3), (3,)), ((2, 3), (2, 1)), ((2,), (2,))])
def test_shapes_must_agree(shapes: tuple[tuple[int, ...], ...]) -> None:
    first, second = torch.zeros(shapes[0]), torch.zeros(shapes[1], dtype=torch.int64)
    with pytest.raises(ValueError, match="one label per row"):
        inspect.unwrap(supervised_contrast)(first, second, temperature=1.0)
    with pytest.raises(ValueError, match=r"\[2, 3\] and \[2, 4\]"):
        inspect.unwrap(embedding_distance)(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\[2, 3\] and \[2, 4\]"):
        inspect.unwrap(pair_contrast)(torch.zeros(2, 3), torch.zeros(2, 4), temperature=1.0)
