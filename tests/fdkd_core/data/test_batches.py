from __future__ import annotations

import numpy as np
import pytest

from fdkd_core.data.batches import TrainingBatches, clean_inputs, steps_per_epoch
from fdkd_core.data.table import ModalityData
from fdkd_core.modalities import KINDS
from fdkd_core.modalities.base import AugmentStrength


def modality(rows: int) -> ModalityData:
    kind = KINDS["vector"]
    values = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32)
    recipe = kind.fit(values, kind.resolve({}, [kind.inspect(value) for value in values]))
    return ModalityData(recipe, values, np.arange(rows))


def batches(
    rows: int = 50, augment: AugmentStrength = "none", seed: int = 0, batch_size: int = 8
) -> TrainingBatches:
    data = modality(rows + 10)
    labels = np.arange(rows + 10) % 3
    return TrainingBatches(
        data, labels, np.arange(10, rows + 10), batch_size=batch_size, seed=seed, augment=augment
    )


@pytest.mark.parametrize("rows", [2, 3, 5, 7, 50, 64, 65, 127])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 64])
def test_an_epoch_sees_every_row_once_in_batches_of_at_least_two(rows: int, batch_size: int) -> None:
    found = batches(rows, batch_size=batch_size)
    epoch = [found.positions(step) for step in range(found.steps_per_epoch)]
    assert sorted(np.concatenate(epoch)) == list(range(rows))
    assert min(map(len, epoch)) >= 2
    assert max(map(len, epoch)) <= max(batch_size, 3)
    assert found.steps_per_epoch == steps_per_epoch(rows, batch_size)


def test_a_batch_is_a_function_of_the_step() -> None:
    found, again = batches(augment="light"), batches(augment="light")
    for step in (5, 0, 17, 5):
        np.testing.assert_array_equal(found.batch(step).inputs, again.batch(step).inputs)
        np.testing.assert_array_equal(found.batch(step).positions, again.batch(step).positions)


def test_epochs_and_seeds_shuffle_anew() -> None:
    found, per_epoch = batches(), batches().steps_per_epoch
    first = np.concatenate([found.positions(step) for step in range(per_epoch)])
    second = np.concatenate([found.positions(step + per_epoch) for step in range(per_epoch)])
    other = np.concatenate([batches(seed=1).positions(step) for step in range(per_epoch)])
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_labels_and_positions_belong_to_the_inputs() -> None:
    data = modality(60)
    batch = batches().batch(3)
    np.testing.assert_array_equal(batch.inputs, clean_inputs(data, batch.positions + 10))
    np.testing.assert_array_equal(batch.labels, (batch.positions + 10) % 3)


def test_augmentation_changes_inputs_and_nothing_else() -> None:
    plain, changed = batches().batch(2), batches(augment="strong").batch(2)
    np.testing.assert_array_equal(plain.positions, changed.positions)
    assert not np.array_equal(plain.inputs, changed.inputs)
    assert changed.inputs.dtype == plain.inputs.dtype
