from __future__ import annotations

import numpy as np
import pytest
from paired_arrays import in_splits, paired_dataset
from sklearn.decomposition import PCA

from fdkd_core.data.table import ModalityData
from fdkd_core.diagnosis.views import Components, input_matrix, side_by_side, sketch


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_components_are_those_of_scikit_learn(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape) * np.linspace(1, 3, shape[1])
    ours = Components(x, 4).of(x)
    theirs = PCA(4, svd_solver="full").fit_transform(x)
    assert np.allclose(np.abs(ours), np.abs(theirs))


def test_components_of_what_does_not_vary_are_finite() -> None:
    found = Components(np.ones((6, 3))).of(np.ones((6, 3)))
    assert found.shape == (6, 1)
    assert np.isfinite(found).all()


def test_a_sketch_keeps_distances_and_short_vectors_as_they_are() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20, 5000))
    narrow = sketch(x, 512)
    assert narrow.shape == (20, 512)
    before = np.linalg.norm(x[:, None] - x, axis=2)
    after = np.linalg.norm(narrow[:, None] - narrow, axis=2)
    others = ~np.eye(20, dtype=bool)
    assert np.abs(after[others] / before[others] - 1).max() < 0.2
    assert np.array_equal(sketch(x[:3], 512), narrow[:3])
    assert np.array_equal(sketch(x[:, :100], 512), x[:, :100])


def test_inputs_are_those_of_the_network() -> None:
    rng = np.random.default_rng(2)
    array = rng.normal(size=(20, 4)) * 10 + 3
    data = paired_dataset(array, array, np.arange(20) % 2, in_splits(12, 4, 4))
    found = input_matrix(data.modalities["teacher"], data.splits["train"])
    assert found.mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert found.std(axis=0) == pytest.approx(1, abs=1e-4)
    assert input_matrix(data.modalities["teacher"], np.array([], dtype=np.int64)).shape[0] == 0


def test_text_becomes_counts_of_tokens_without_order_or_padding() -> None:
    tokens = np.array([[2, 3, 3, 0], [3, 2, 3, 0], [4, 0, 0, 0], [0, 0, 0, 0]])
    recipe = {"kind": "text", "vocab_size": 6, "padding_id": 0, "input_dtype": "int64"}
    found = input_matrix(ModalityData(recipe, tokens, np.arange(4)), np.arange(4))
    assert np.array_equal(found[0], found[1])
    assert np.allclose(found[0], np.sqrt([0, 0, 1 / 3, 2 / 3, 0, 0]))
    assert np.array_equal(found[2], [0, 0, 0, 0, 1, 0])
    assert not found[3].any()


def test_side_by_side_gives_both_views_the_same_weight() -> None:
    rng = np.random.default_rng(3)
    found = side_by_side(1000 * rng.normal(size=(50, 2)), rng.normal(size=(50, 9)))
    assert found[:, :2].var(axis=0).sum() == pytest.approx(1)
    assert found[:, 2:].var(axis=0).sum() == pytest.approx(1)
