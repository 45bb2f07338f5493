"""Planted features: what is shared, and in which band, is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import band_basis, make_planted

from fdkd_core.data.batches import clean_inputs
from fdkd_core.diagnosis.similarity import bands_of, is_above, make_splitter, measure_similarity
from fdkd_core.frequency import split_bands
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import FDCMKDSpec
from fdkd_core.spec.findings import Similarity, SimilarityFindings

FFT = FDCMKDSpec()


def outputs(features: np.ndarray, classes: int) -> ModelOutput:
    return ModelOutput(torch.from_numpy(features).float(), torch.zeros(len(features), classes))


def measure(
    features: np.ndarray, view: np.ndarray, labels: np.ndarray, method: FDCMKDSpec = FFT
) -> SimilarityFindings:
    splitter = make_splitter(method, outputs(features, int(labels.max()) + 1), labels, 0)
    return measure_similarity(
        features,
        {"inputs": view},
        labels,
        method=method,
        splitter=splitter,
        student_dim=8,
        rng=np.random.default_rng(0),
    )


def by_band(found: SimilarityFindings) -> dict[tuple[str, str], Similarity]:
    return {(measured.band, measured.measure): measured for measured in found.measures}


def planted(*, shared: bool) -> SimilarityFindings:
    made = make_planted(0, shared=shared, num_train=400, num_test=10, scale_spread=0.0)
    rows = made.data.splits["train"]
    view = clean_inputs(made.data.modalities["inputs"], rows).astype(np.float64)
    return measure(made.teacher_outputs.features.double().numpy(), view, made.data.labels[rows])


def test_a_shared_low_band_is_found_and_a_private_high_band_is_not() -> None:
    found = planted(shared=True)
    measured = by_band(found)
    for measure_name in ("r2", "cka"):
        low, high = measured["low", measure_name], measured["high", measure_name]
        assert low.is_above_shuffled
        assert low.is_above_within_class
        assert not high.is_above_shuffled
        assert low.value > low.shuffled.high + 0.05
        # Here the order of the channels means something.
        assert low.other_channel_orders is not None
        assert low.value > low.other_channel_orders.high
        assert measured["whole", measure_name].other_channel_orders is None
    assert measured["low", "r2"].value > 0.5
    assert found.band_energy["high"] == pytest.approx(0.8, abs=0.03)  # four times the low band's
    assert found.band_energy["low"] + found.band_energy["high"] == pytest.approx(1.0)
    assert found.mean_energy > 0.1  # of the offset of 3


def test_nothing_is_found_where_nothing_is_shared() -> None:
    for measured in planted(shared=False).measures:
        assert not measured.is_above_shuffled
        assert not measured.is_above_within_class


def test_pairs_that_share_their_class_alone_are_not_above_the_null_within_classes() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 300)
    features = rng.normal(size=(5, 16))[labels] + rng.normal(size=(300, 16))
    view = rng.normal(size=(5, 9))[labels] + rng.normal(size=(300, 9))
    for measured in measure(features, view, labels).measures:
        assert measured.is_above_shuffled
        assert not measured.is_above_within_class


def test_a_mean_over_channels_that_both_have_is_not_taken_for_similarity() -> None:
    """Non-negative features look alike, with cosines of 0.9 and more, without sharing anything."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 300)
    features, view = np.abs(rng.normal(size=(300, 16))) + 2, np.abs(rng.normal(size=(300, 16))) + 2
    cosine = (features * view).sum(axis=1) / np.linalg.norm(features, axis=1) / np.linalg.norm(view, axis=1)
    assert cosine.mean() > 0.9
    found = measure(features, view, labels)
    assert found.mean_energy > 0.9
    assert not any(measured.is_above_shuffled for measured in found.measures)


@pytest.mark.parametrize("basis", ["dct", "pca", "class", "random"])
def test_bands_are_those_of_the_methods_basis(basis: str) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 200)
    latent = rng.normal(size=(200, 2))
    # Shared: what varies most. Private: all the rest.
    features = 5.0 * latent @ rng.normal(size=(2, 12)) + 0.1 * rng.normal(size=(200, 12))
    found = measure(features, latent, labels, FDCMKDSpec.model_validate({"basis": basis}))
    measured = by_band(found)
    assert found.basis == basis
    assert measured["low", "r2"].value > 0.9
    assert (measured["low", "r2"].other_channel_orders is not None) == (basis == "dct")
    if basis == "pca":
        assert measured["high", "r2"].value < 0.1


def test_bands_are_orthogonal_and_add_up() -> None:
    features = np.random.default_rng(4).normal(size=(20, 64)) + 3
    splitter = make_splitter(FFT, outputs(features, 2), np.zeros(20, dtype=np.int64), 0)
    bands = bands_of(features, splitter)
    assert np.allclose(bands["low"] + bands["high"], bands["whole"])
    assert np.allclose(bands["whole"].mean(axis=1), 0)
    assert np.allclose(bands["low"] @ band_basis(64, low=False), 0)
    assert set(bands_of(features[:, :1], splitter)) == {"whole"}


def test_above_means_above_all_repeats_and_by_enough() -> None:
    assert is_above(0.2, [0.0, 0.1])
    assert not is_above(0.1, [0.0, 0.1])
    assert not is_above(0.004, [0.0, 0.002])


def test_a_method_that_does_not_split_is_looked_at_by_the_bands_of_the_paper() -> None:
    """Labels that are no classes, of which a basis of class means cannot be made, are not asked for."""
    method = FDCMKDSpec(split=False, basis="class")
    outputs = ModelOutput(torch.randn(6, 8), torch.randn(6, 2))
    split = make_splitter(method, outputs, np.zeros((6, 2), np.float32), seed=0)
    features = torch.randn(4, 8)
    expected = split_bands(features, cutoff=method.cutoff)
    assert all(torch.equal(*pair) for pair in zip(split(features), expected, strict=True))
