"""Which rows make up step number s, and their network inputs: a pure function of (data, spec, seed, s).

Because nothing is drawn from a running generator, the data position of a resumed run is just its step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.table import ModalityData
from fdkd_core.modalities import kind_of
from fdkd_core.modalities.base import AugmentStrength
from fdkd_core.modalities.depth import vary_range
from fdkd_core.modalities.image import vary_light

# Streams of one seed that must not repeat each other.
_ORDER, _AUGMENT = 0, 1

_IN_PLACE: dict[str, Callable[[NDArray[Any], np.random.Generator, AugmentStrength], NDArray[Any]]] = {
    "image": vary_light,
    "depth": vary_range,
}
"""Augmentation by kind where labels are masks. Nothing is shifted there: the maps of the teacher, which sees
clean inputs once (docs/decisions/0004), would lie beside the student's."""


@dataclass(frozen=True)
class Batch:
    """One step's worth of training rows."""

    inputs: NDArray[Any]
    """Shape [B, *input_shape]: what the network takes."""
    labels: NDArray[Any]
    """Shape [B, ...], as the task has them."""
    positions: NDArray[np.int64]
    """Shape [B]: places within the training rows, by which cached teacher outputs are looked up."""


class TrainingBatches:
    """The training rows of one modality, in shuffled batches.

    An epoch is divided evenly into batches of at most `batch_size` rows, so that none is left with a single
    row, of which batch normalisation can make nothing.

    Args:
        rows_together: Rows of one label that come one after the other, where it has as many: so a batch holds
            several of each of its labels, and still every row comes once an epoch.
    """

    def __init__(
        self,
        modality: ModalityData,
        labels: NDArray[Any],
        rows: NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
        augment: AugmentStrength,
        rows_together: int = 1,
    ) -> None:
        self._modality = modality
        self._kind = kind_of(modality.recipe)
        self._labels = labels
        self._rows = rows
        self._seed = seed
        self._augment = augment
        self._rows_together = rows_together
        self._last: tuple[int, NDArray[np.int64]] | None = None
        self.steps_per_epoch = steps_per_epoch(len(rows), batch_size)

    def positions(self, step: int) -> NDArray[np.int64]:
        """Places within the training rows that step number `step` trains on."""
        epoch, index = divmod(step, self.steps_per_epoch)
        return np.array_split(self._order(epoch), self.steps_per_epoch)[index]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Of the training rows in an epoch. The last is kept: to sort by label takes longer than to draw."""
        if self._last is None or self._last[0] != epoch:
            generator = _generator(self._seed, _ORDER, epoch)
            order = generator.permutation(len(self._rows))
            if self._rows_together > 1:
                order = in_bunches(order, self._labels[self._rows], self._rows_together, generator)
            self._last = epoch, order
        return self._last[1]

    def batch(self, step: int) -> Batch:
        """The batch of step number `step`, normalised and augmented."""
        positions = self.positions(step)
        rows = self._rows[positions]
        inputs = self._kind.to_input(self._modality.inputs_of(rows), self._modality.recipe)
        if self._augment != "none" and self._labels.ndim == 3:
            vary = _IN_PLACE[self._modality.recipe["kind"]]
            inputs = vary(inputs, _generator(self._seed, _AUGMENT, step), self._augment)
        elif self._augment != "none":
            generator = _generator(self._seed, _AUGMENT, step)
            inputs = self._kind.augment(inputs, generator, self._augment, self._modality.recipe)
        return Batch(np.ascontiguousarray(inputs), self._labels[rows], positions)


def steps_per_epoch(num_rows: int, batch_size: int) -> int:
    """Batches that an epoch is divided into, each of at least two rows where there are two."""
    return min(math.ceil(num_rows / batch_size), max(1, num_rows // 2))


def in_bunches(
    order: NDArray[np.int64], labels: NDArray[np.int64], size: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """The same rows so that those of a label come in bunches, and the bunches in a random order.

    Args:
        order: Places of all rows, in a random order, by which the rows of a label are put together.
        labels: Of all rows, shape [rows].
        size: Rows of a bunch; the last of each label may have fewer.
        generator: Draws the order of the bunches.
    """
    by_label = order[np.argsort(labels[order], kind="stable")]
    sorted_labels = labels[by_label]
    is_first = np.concatenate([[True], sorted_labels[1:] != sorted_labels[:-1]])
    within = np.arange(len(order)) - np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))
    bunch = np.cumsum(within % size == 0) - 1
    place = generator.permutation(bunch[-1] + 1)
    found: NDArray[np.int64] = by_label[np.argsort(place[bunch], kind="stable")]
    return found


def clean_inputs(modality: ModalityData, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Network inputs of some rows, never augmented."""
    kind = kind_of(modality.recipe)
    return np.ascontiguousarray(kind.to_input(modality.inputs_of(rows), modality.recipe))


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, number))))
