from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from fdkd_core.data.table import TargetScale
from fdkd_core.row_noise import row_noise
from fdkd_core.spec.tasks import RetrievalSpec
from fdkd_core.tasks import retrieval
from fdkd_core.tasks.retrieval import Retrieval

TASK = Retrieval(RetrievalSpec(temperature=0.5))
DEPTHS = {"recall_at_1": 1, "recall_at_5": 5, "recall_at_10": 10}


def sample(seed: int, rows: int = 60, labels: int = 12) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Embeddings that tell something about the labels; one row has a label of its own."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, labels, rows)
    label[0] = labels
    found = rng.normal(size=(labels + 1, 6))[label] + 1.2 * rng.normal(size=(rows, 6))
    return found.astype(np.float32), label


@pytest.mark.parametrize("seed", range(3))
def test_metrics_agree_with_scikit_learn(seed: int) -> None:
    embeddings, labels = sample(seed)
    found = TASK.metrics(embeddings, labels)
    _, order = NearestNeighbors(n_neighbors=59, metric="cosine").fit(embeddings).kneighbors()
    hits = labels[order] == labels[:, None]
    asked = hits.any(axis=1)
    for name, depth in DEPTHS.items():
        assert getattr(found, name) == pytest.approx(hits[asked, :depth].any(axis=1).mean())
    assert found.mean_reciprocal_rank == pytest.approx((1.0 / (hits[asked].argmax(axis=1) + 1)).mean())
    assert (found.num_queries, found.num_samples) == (asked.sum(), 60)
    assert asked.sum() < 60
    assert 0.1 < found.recall_at_1 < found.recall_at_5 < 1.0


def test_by_hand() -> None:
    # On a circle, at 0, 10, 30, 100 and 110 degrees. Nearest: b, a, b, e, d.
    angles = np.deg2rad([0.0, 10.0, 30.0, 100.0, 110.0])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = TASK.metrics(3.0 * embeddings, np.array([0, 1, 0, 2, 2]))
    # a finds c second; c finds b, then a; d and e find each other; b has nobody to find.
    assert (found.recall_at_1, found.recall_at_5, found.num_queries) == (0.5, 1.0, 4)
    assert found.mean_reciprocal_rank == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)


@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_who_cannot_tell_rows_apart_finds_nobody(noise: float) -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=33) + noise * rng.normal(size=(40, 33))
    labels = np.repeat(np.arange(20), 2)
    found = TASK.metrics(embeddings.astype(np.float32), labels)
    assert (found.recall_at_1, found.recall_at_10) == (0.0, 0.0)
    assert found.mean_reciprocal_rank == pytest.approx(1 / 39)
    assert found.loss == pytest.approx(np.log(39))
    assert TASK.metrics(np.zeros((40, 8), np.float32), labels).recall_at_10 == 0.0


def test_a_wrong_row_that_is_as_near_comes_first() -> None:
    embeddings = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    found = TASK.metrics(embeddings, np.array([0, 0, 1, 1]))
    assert (found.recall_at_1, found.recall_at_5) == (0.0, 1.0)


def test_without_a_pair_there_is_nothing_to_find() -> None:
    found = TASK.metrics(np.eye(3, dtype=np.float32), np.arange(3))
    assert (found.recall_at_1, found.mean_reciprocal_rank, found.loss, found.num_queries) == (0, 0, 0, 0)
    for name in (*TASK.facts.metrics, "loss"):
        np.testing.assert_array_equal(TASK.shares(name, np.eye(3, dtype=np.float32), np.arange(3)), 0.0)
    assert TASK.metrics(np.ones((1, 3), np.float32), np.zeros(1, np.int64)).num_queries == 0


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = sample(3)
    whole = TASK.metrics(embeddings, labels)
    monkeypatch.setattr(retrieval, "_BLOCK_VALUES", 7 * 60 + 1)
    in_parts = TASK.metrics(embeddings, labels)
    assert in_parts.model_dump(exclude={"loss"}) == whole.model_dump(exclude={"loss"})
    assert in_parts.loss == pytest.approx(whole.loss, rel=1e-6)


def test_memory_does_not_grow_with_the_square_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_BLOCK_VALUES", 1 << 14)
    embeddings, labels = sample(0, rows=2000)
    tracemalloc.start()
    TASK.metrics(embeddings, labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2000 * 2000  # bytes; the similarities alone would take four times as many


@pytest.mark.parametrize("metric", [*TASK.facts.metrics, "loss"])
def test_the_standard_errors_are_those_of_other_queries(metric: str) -> None:
    """Of a mean over the rows that have another of their label, the gallery being what it is."""
    embeddings, labels = sample(1, rows=300, labels=150)
    shares = TASK.shares(metric, embeddings, labels)
    cosines = cosine_similarity(embeddings)
    np.fill_diagonal(cosines, -2.0)
    right = (labels[:, None] == labels) & ~np.eye(300, dtype=bool)
    asked = right.any(axis=1)
    best = np.where(right, cosines, -2.0).max(axis=1, keepdims=True)
    rank = 1 + ((cosines >= best) & ~right).sum(axis=1)
    if metric == "loss":
        total = np.log(np.where(np.eye(300, dtype=bool), 0.0, np.exp(cosines / 0.5)).sum(axis=1))
        value = (np.where(right, cosines, 0.0).sum(axis=1) / np.maximum(right.sum(axis=1), 1) / 0.5) - total
    else:
        value = 1.0 / rank if metric == "mean_reciprocal_rank" else (rank <= DEPTHS[metric]).astype(float)
    assert 50 < asked.sum() < 290
    assert shares.std() / np.sqrt(300) == pytest.approx(value[asked].std() / np.sqrt(asked.sum()), rel=1e-4)
    np.testing.assert_array_equal(shares[~asked], 0.0)
    # More is better.
    assert np.corrcoef(shares[asked], value[asked])[0, 1] == pytest.approx(1.0)
    figure = getattr(TASK.metrics(embeddings, labels), metric)
    assert figure == pytest.approx(abs(value[asked].mean()), rel=1e-4)


def test_the_loss_of_a_split_is_that_of_a_batch_of_all_its_rows() -> None:
    embeddings, labels = sample(2)
    trained = TASK.loss(torch.from_numpy(embeddings), torch.from_numpy(labels))
    found = TASK.metrics(embeddings, labels)
    assert float(trained.sum()) / found.num_queries == pytest.approx(found.loss, rel=1e-5)


SCALE = TargetScale(("a", "b", "c"), np.array([3.0, -1.0, 0.0]), np.array([0.5, 2.0, 1.0]))
PAIRS = Retrieval(RetrievalSpec(relevant="pair", temperature=0.5), SCALE)


def paired(rows: int = 50) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Embeddings, labels on the scale of the training rows, and the vectors that they stand for."""
    rng = np.random.default_rng(5)
    labels = rng.normal(size=(rows, 3)).astype(np.float32)
    labels[1::5] = labels[::5]  # some rows are paired with the same
    vectors = labels * SCALE.std + SCALE.mean
    return (vectors + 1.5 * rng.normal(size=vectors.shape)).astype(np.float32), labels, vectors


def test_a_row_finds_its_vector_among_the_different_ones() -> None:
    embeddings, labels, vectors = paired()
    found = PAIRS.metrics(embeddings, labels)
    different, own = np.unique(vectors, axis=0, return_inverse=True)
    assert len(different) == 40
    cosines = cosine_similarity(embeddings, different)
    rank = 1 + (cosines > cosines[np.arange(50), own.reshape(-1)][:, None]).sum(axis=1)
    assert found.recall_at_1 == pytest.approx((rank == 1).mean())
    assert found.recall_at_10 == pytest.approx((rank <= 10).mean())
    assert found.mean_reciprocal_rank == pytest.approx((1.0 / rank).mean())
    assert (found.num_queries, found.num_samples) == (50, 50)
    assert 0.05 < found.recall_at_1 < found.recall_at_10 < 1.0
    trained = PAIRS.loss(torch.from_numpy(embeddings), torch.from_numpy(labels))
    assert float(trained.mean()) == pytest.approx(found.loss, rel=1e-5)
    shares = PAIRS.shares("recall_at_5", embeddings, labels)
    assert shares.std() == pytest.approx((rank <= 5).std())


def test_who_answers_all_queries_alike_finds_one_vector() -> None:
    _, labels, _ = paired()
    one = PAIRS.metrics(np.ones((50, 3), np.float32), labels)
    assert one.recall_at_1 <= 2 / 50
    assert PAIRS.metrics(np.zeros((50, 3), np.float32), labels).recall_at_10 == 0.0


def test_embeddings_must_be_finite() -> None:
    with pytest.raises(FloatingPointError):
        TASK.metrics(np.full((2, 2), np.nan, np.float32), np.zeros(2, np.int64))


def test_queries_of_one_label_are_no_independent_evidence() -> None:
    """Two models that are as good, each of which knows some identities and not others: what rows taken for
    independent say of the noise would hold the truth in a third of the cases."""
    labels = np.repeat(np.arange(20), 20)
    rng = np.random.default_rng(0)
    found, inside = [], []
    for _ in range(300):
        chances = rng.beta(1.0, 1.0, (2, 20))[:, labels]
        shares_N = (rng.random((2, 400)) < chances).astype(np.float64)
        noise = row_noise(shares_N[0] - shares_N[1], TASK.alike(labels))
        found.append((shares_N[0] - shares_N[1]).mean())
        assert noise.half_width is not None
        inside.append(abs(found[-1]) <= noise.half_width)
    assert np.mean(inside) > 0.9
    assert np.mean(np.abs(found) <= 2.0 * 0.7 / np.sqrt(400)) < 0.6


def test_what_is_alike() -> None:
    vectors = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(PAIRS.alike(vectors), [0, 1, 0])
    np.testing.assert_array_equal(TASK.alike(np.array([7, 3, 7])), [1, 0, 1])
    assert TASK.alike(np.arange(5)) is None
    assert PAIRS.alike(np.eye(3)) is None
