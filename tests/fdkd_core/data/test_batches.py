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


def test_rows_of_a_label_come_in_bunches() -> None:
    labels = np.repeat(np.arange(30), [4, 9, 1] * 10)
    data = modality(len(labels))

    def grouped(seed: int = 0, size: int = 4) -> TrainingBatches:
        rows = np.arange(len(labels))
        return TrainingBatches(
            data, labels, rows, batch_size=14, seed=seed, augment="none", rows_together=size
        )

    found = grouped()
    epochs = [
        np.concatenate([found.positions(e * found.steps_per_epoch + s) for s in range(found.steps_per_epoch)])
        for e in range(2)
    ]
    for epoch in epochs:
        assert sorted(epoch) == list(range(len(labels)))
        # 4 is one bunch of 4; 9 are two and one that is left; runs of a label may touch by chance.
        starts = np.flatnonzero(np.diff(labels[epoch], prepend=-1))
        assert 40 <= len(starts) <= 50
        assert len(set(labels[epoch][starts].tolist())) == 30
        assert not (np.diff(labels[epoch][starts]) > 0).all()
    assert not np.array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(grouped().positions(3), found.positions(3))
    assert not np.array_equal(grouped(seed=1).positions(0), found.positions(0))
    shared = [np.bincount(labels[grouped(size=size).positions(0)]).max() for size in (1, 4)]
    assert shared[0] < shared[1]
