from __future__ import annotations

import numpy as np
import pytest
from paired_arrays import in_splits, paired_dataset, without_teacher

from fdkd_core.data.table import PairedDataset
from fdkd_core.diagnosis.networks import Budget, plan_training, planned_steps
from fdkd_core.diagnosis.sample import Sample, describe, draw_sample, stratified
from fdkd_core.diagnosis.tasks import diagnosed
from fdkd_core.errors import IncompatibleError
from fdkd_core.spec import TrainingSpec


def draw(data: PairedDataset, max_samples: int, seed: int) -> Sample:
    return draw_sample(data, data.modalities, diagnosed(data).choose, max_samples, seed)


def test_a_training_takes_no_more_than_its_limit_nor_than_the_job_would() -> None:
    training = TrainingSpec(epochs=30)
    assert plan_training(training, 600, 9000, 10_000) == Budget(30, 300, 64)
    assert plan_training(TrainingSpec(epochs=3), 600, 600, 10_000) == Budget(3, 30, 64)
    assert plan_training(training, 600, 9000, 100) == Budget(10, 100, 64)
    assert plan_training(training, 600, 9000, 59) is None
    assert plan_training(TrainingSpec(epochs=1), 600, 600, 59) == Budget(1, 10, 64)
    # Small batches of a large sample: an epoch, whole, or nothing.
    small = TrainingSpec(epochs=20, batch_size=8)
    assert plan_training(small, 4000, 9000, 500) == Budget(1, 500, 8)
    assert plan_training(small, 4000, 9000, 499) is None
    assert planned_steps(small, 9000, 9000, 4000) == 500


def test_batches_are_no_larger_than_the_sample() -> None:
    assert plan_training(TrainingSpec(epochs=5, batch_size=64), 40, 64, 1000) == Budget(5, 5, 40)
    assert planned_steps(TrainingSpec(epochs=30), 9000, 9000, 600) == 300


def test_rows_are_used_once_and_in_the_order_of_the_file() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 1600)
    array = rng.normal(size=(1600, 2))
    data = paired_dataset(array, array, labels, in_splits(1000, 300, 300))
    sample = draw(data, 600, 0)
    assert (len(sample.fit), len(sample.validated)) == (600, 300)
    assert 300 <= len(sample.held_out) <= 333
    assert len(sample.measured) == 600
    assert set(sample.fit).isdisjoint(sample.measured)
    assert set(sample.held_out) <= set(sample.measured)
    assert sample.measured.max() < 1300  # nothing of the test split
    for rows in (sample.fit, sample.held_out, sample.measured, sample.validated):
        assert (np.diff(rows) > 0).all()
    assert (np.diff(sample.held_out) == 1).mean() > 0.9  # neighbours
    assert np.array_equal(draw(data, 600, 0).fit, sample.fit)
    assert not np.array_equal(draw(data, 600, 1).fit, sample.fit)


def test_tiny_data_leave_rows_for_everything() -> None:
    array = np.random.default_rng(0).normal(size=(20, 2))
    data = paired_dataset(array, array, np.arange(20) % 2, in_splits(12, 4, 4))
    sample = draw(data, 600, 0)
    assert (len(sample.fit), len(sample.held_out), len(sample.measured)) == (8, 4, 8)


def test_rows_without_a_teacher_are_left_out_and_counted() -> None:
    array = np.random.default_rng(0).normal(size=(400, 2))
    whole = paired_dataset(array, array, np.arange(400) % 3, in_splits(300, 50, 50))
    lacking = np.arange(0, 300, 4)
    data = without_teacher(whole, lacking)
    sample = draw(data, 600, 0)
    looked_at = np.concatenate([sample.fit, sample.held_out])
    assert sorted(looked_at) == sorted(set(range(300)) - set(lacking.tolist()))
    assert data.modalities["teacher"].has(sample.measured).all()
    found = describe(sample, data, data.modalities)
    assert (found.train_rows, found.unpaired_rows) == (300, 75)
    assert describe(draw(whole, 600, 0), whole, whole.modalities).unpaired_rows == 0


def test_too_few_pairs_are_refused() -> None:
    array = np.random.default_rng(0).normal(size=(60, 2))
    data = paired_dataset(array, array, np.arange(60) % 2, in_splits(40, 10, 10))
    assert len(draw(without_teacher(data, np.arange(28)), 600, 0).held_out) == 4
    with pytest.raises(IncompatibleError, match="at least 12 training rows with both modalities; found 11"):
        draw(without_teacher(data, np.arange(29)), 600, 0)


def test_a_stratified_choice_keeps_the_shares_of_classes() -> None:
    labels = np.array([0] * 900 + [1] * 90 + [2] * 10)
    chosen = stratified(np.arange(1000), labels, 100, np.random.default_rng(0))
    assert np.bincount(labels[chosen]).tolist() == [90, 9, 1]
