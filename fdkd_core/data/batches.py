"""Which rows make up step number s, and their network inputs: a pure function of (data, spec, seed, s).

Because nothing is drawn from a running generator, the data position of a resumed run is just its step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.table import ModalityData
from fdkd_core.modalities import kind_of
from fdkd_core.modalities.base import AugmentStrength

# Streams of one seed that must not repeat each other.
_ORDER, _AUGMENT = 0, 1


@dataclass(frozen=True)
class Batch:
    """One step's worth of training rows."""

    inputs: NDArray[Any]
    """Shape [B, *input_shape]: what the network takes."""
    labels: NDArray[np.int64]
    """Shape [B]."""
    positions: NDArray[np.int64]
    """Shape [B]: places within the training rows, by which cached teacher outputs are looked up."""


class TrainingBatches:
    """The training rows of one modality, in shuffled batches.

    An epoch is divided evenly into batches of at most `batch_size` rows, so that none is left with a single
    row, of which batch normalisation can make nothing.
    """

    def __init__(
        self,
        modality: ModalityData,
        labels: NDArray[np.int64],
        rows: NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
        augment: AugmentStrength,
    ) -> None:
        self._modality = modality
        self._kind = kind_of(modality.recipe)
        self._labels = labels
        self._rows = rows
        self._seed = seed
        self._augment = augment
        self.steps_per_epoch = steps_per_epoch(len(rows), batch_size)

    def positions(self, step: int) -> NDArray[np.int64]:
        """Places within the training rows that step number `step` trains on."""
        epoch, index = divmod(step, self.steps_per_epoch)
        order = _generator(self._seed, _ORDER, epoch).permutation(len(self._rows))
        return np.array_split(order, self.steps_per_epoch)[index]

    def batch(self, step: int) -> Batch:
        """The batch of step number `step`, normalised and augmented."""
        positions = self.positions(step)
        rows = self._rows[positions]
        inputs = self._kind.to_input(self._modality.inputs_of(rows), self._modality.recipe)
        if self._augment != "none":
            generator = _generator(self._seed, _AUGMENT, step)
            inputs = self._kind.augment(inputs, generator, self._augment, self._modality.recipe)
        return Batch(np.ascontiguousarray(inputs), self._labels[rows], positions)


def steps_per_epoch(num_rows: int, batch_size: int) -> int:
    """Batches that an epoch is divided into, each of at least two rows where there are two."""
    return min(math.ceil(num_rows / batch_size), max(1, num_rows // 2))


def clean_inputs(modality: ModalityData, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Network inputs of some rows, never augmented."""
    kind = kind_of(modality.recipe)
    return np.ascontiguousarray(kind.to_input(modality.inputs_of(rows), modality.recipe))


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, number))))
