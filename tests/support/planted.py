"""Planted features: what the teacher and the student's view share is known by construction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fdkd_core.data.table import ModalityData, PairedDataset
from fdkd_core.frequency import cutoff_bin
from fdkd_core.modalities import KINDS
from fdkd_core.models.base import ModelOutput


@dataclass(frozen=True)
class Planted:
    """A dataset of vectors for the student, and the teacher's outputs for its training rows."""

    data: PairedDataset
    teacher_outputs: ModelOutput
    features: NDArray[np.float32]
    """Those of the teacher, of all rows, shape [N, D]."""

    def write(self, path: Path) -> Path:
        """The same as an .npz, the features in a column `features`."""
        inputs = self.data.modalities["inputs"]
        split = np.empty(len(self.data.ids), dtype="U5")
        for name, rows in self.data.splits.items():
            split[rows] = name
        np.savez(
            path, inputs=inputs.values[inputs.index], features=self.features, label=self.data.labels,
            split=split, id=np.array(self.data.ids),
        )  # fmt: skip
        return path


def band_basis(dim: int, *, low: bool) -> NDArray[np.float64]:
    """Orthonormal basis [dim, k] of the low or the high band at cutoff 1/2."""
    c, channel = cutoff_bin(dim, 0.5), np.arange(dim)
    columns = []
    for k in range(1, c + 1) if low else range(c + 1, dim // 2 + 1):
        columns.append(np.cos(2 * np.pi * k * channel / dim))
        if 2 * k != dim:
            columns.append(np.sin(2 * np.pi * k * channel / dim))
    return np.stack([column / np.linalg.norm(column) for column in columns], axis=1)


def make_planted(
    seed: int,
    *,
    shared: bool = True,
    num_train: int = 200,
    num_test: int = 1000,
    dim: int = 64,
    classes: int = 6,
    clusters: int = 24,
    latent: int = 12,
    spread: float = 1.5,
    noise: float = 0.3,
    private_energy: float = 4.0,
    scale_spread: float = 0.7,
) -> Planted:
    """Makes pairs whose teacher features hold the class-bearing latent in one band.

    The label is decided by a latent z. The student sees z through a random nonlinear mixture with noise. The
    teacher's feature holds, in the low band, a nearly clean image of z when `shared`, and otherwise something
    of its own; its high band is private in both cases, has `private_energy` times the low band's energy, and
    cannot be told from the student's input. The norm of a feature is private too: log-normal over samples,
    its logarithm with the standard deviation `scale_spread`.
    """
    rng = np.random.default_rng(seed)
    total = 2 * num_train + num_test
    # Several clusters to a class: hard to learn from few labels, easy once z is known.
    centres = spread * rng.normal(size=(clusters, latent))
    cluster = rng.integers(0, clusters, total)
    labels = cluster % classes
    z = centres[cluster] + rng.normal(size=(total, latent))

    # The student sees z drowned in as many directions of its own.
    nuisance = rng.normal(size=(total, 2 * latent))
    mixing = rng.normal(size=(3 * latent, 64)) / np.sqrt(latent)
    inputs = np.concatenate([z, 2.0 * nuisance], axis=1) @ mixing + noise * rng.normal(size=(total, 64))

    low, high = band_basis(dim, low=True), band_basis(dim, low=False)
    carried = z if shared else rng.normal(size=z.shape)
    low_part = carried @ (rng.normal(size=(latent, low.shape[1])) / np.sqrt(latent))
    high_part = rng.normal(size=(total, high.shape[1]))
    high_part *= np.sqrt(private_energy) * np.linalg.norm(low_part) / np.linalg.norm(high_part)
    # The last draws, so that all else is the same whatever the spread.
    norms = np.exp(scale_spread * rng.normal(size=(total, 1)))
    # With a mean, as post-ReLU features have.
    features = norms * (low_part @ low.T + high_part @ high.T) + 3.0

    raw = inputs.astype(np.float32)
    rows = {
        "train": np.arange(num_train),
        "val": np.arange(num_train, 2 * num_train),
        "test": np.arange(2 * num_train, total),
    }
    kind = KINDS["vector"]
    recipe = kind.resolve({}, [kind.inspect(row) for row in raw[rows["train"]]])
    decoded = np.stack([kind.decode(row, recipe) for row in raw])
    recipe = kind.fit(decoded[rows["train"]], recipe)
    data = PairedDataset(
        ids=[str(row) for row in range(total)],
        labels=labels.astype(np.int64),
        classes=[f"class {c}" for c in range(classes)],
        splits=rows,
        modalities={"inputs": ModalityData(recipe, decoded, np.arange(total))},
        sha256="planted",
        report={},
    )
    outputs = ModelOutput(
        features=torch.from_numpy(features[rows["train"]]).float(),
        logits=torch.zeros(num_train, classes),
    )
    return Planted(data, outputs, features.astype(np.float32))
