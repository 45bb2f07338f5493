"""The dataset between reading and decoding: ids, splits, labels and one raw column per modality."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fdkd_core.modalities.base import RawColumn, Recipe
from fdkd_core.spec.tasks import ClassificationSpec, RetrievalSpec, TaskSpec

if TYPE_CHECKING:
    from fdkd_core.data.label_forms import LabelColumn

Split = Literal["train", "val", "test", "unlabelled"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""Whose rows have labels."""
UNLABELLED: Split = "unlabelled"
"""Of rows that only a teacher speaks about (docs/decisions/0029)."""


@dataclass(frozen=True)
class TargetScale:
    """The numbers that a regression learns, and the scale on which it does."""

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    """Shape [targets], over the training rows, in the unit of each."""
    std: NDArray[np.float64]
    """The same; never 0."""

    def standardised(self, numbers: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Numbers [..., targets] in their own units, on the scale of mean 0 and deviation 1."""
        found: NDArray[np.float64] = (numbers - self.mean) / self.std
        return found

    def in_own_units(self, numbers: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The way back."""
        found: NDArray[np.float64] = numbers.astype(np.float64) * self.std + self.mean
        return found


@dataclass(frozen=True)
class Table:
    """Rows as read from the user's file, before any modality is decoded."""

    ids: list[str]
    splits: list[str]
    """One of `SPLITS` per row, or `UNLABELLED`."""
    labels: LabelColumn
    """Of each row; what a task makes of them is told from the training rows."""
    columns: dict[str, RawColumn]
    groups: list[str] | None = None
    """Rows of one group (a speaker, a patient) never part between training and validation."""
    class_names: list[str] | None = None
    """Names for integer labels 0..C-1, where the file brings them."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Kind per column where dataset.yaml states it."""
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options per column from dataset.yaml."""
    missing: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Shape [rows] per column that lacks the value of some training row: which ones. They are never read."""
    sha256: str = ""
    """Hash of everything read: the identity of the dataset."""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ModalityData:
    """One modality, decoded. Row r is `values[index[r]]`: a file named by many rows is kept once."""

    recipe: Recipe
    values: NDArray[Any]
    """Shape [unique values, *input_shape], storage dtype; in memory or memory-mapped."""
    index: NDArray[np.int64]
    """Shape [rows]; -1 for a training row without a value."""

    def has(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some rows have a value."""
        found: NDArray[np.bool_] = self.index[rows] >= 0
        return found

    def inputs_of(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The decoded values of rows that have one."""
        assert self.has(rows).all(), "a row without a value cannot be looked at"
        values: NDArray[Any] = self.values[self.index[rows]]
        return values


@dataclass(frozen=True)
class PairedDataset:
    """Everything training needs, row-aligned."""

    ids: list[str]
    labels: NDArray[Any]
    """What the task reads. One class or identity a row: indexes, int64 [rows]. Sets of classes: zeros
    and ones, float32 [rows, classes]. Numbers: float32 [rows, targets], on the scale of `targets`."""
    classes: list[str]
    """Names by index; empty for numbers."""
    splits: dict[Split, NDArray[np.int64]]
    """Row numbers of each of `SPLITS`, ascending, and of `UNLABELLED` where there are such rows."""
    modalities: dict[str, ModalityData]
    sha256: str
    report: dict[str, Any]
    """The data report (`data_report.json`)."""
    task: TaskSpec = field(default_factory=ClassificationSpec)
    """What the labels were read for."""
    targets: TargetScale | None = None
    """Names and scale of numbers."""
    groups: NDArray[np.int64] | None = None
    """Shape [rows]: number of the group of each row, such as its speaker; None where rows are independent."""

    def groups_of(self, split: Split) -> NDArray[np.int64] | None:
        """Group of each row of a split, in its order; None where rows are independent."""
        return None if self.groups is None else self.groups[self.splits[split]]

    @property
    def outputs(self) -> list[str]:
        """Names of the numbers that a network answers with: classes, targets, or those of an embedding."""
        if isinstance(self.task, RetrievalSpec) and self.task.output_names is not None:
            return self.task.output_names
        return self.classes if self.targets is None else list(self.targets.names)

    @property
    def strata(self) -> NDArray[np.int64]:
        """Shape [rows]: what a choice of rows keeps in proportion. The class, where a row has one; else 0."""
        found: NDArray[np.int64] = self.labels
        return found if found.ndim == 1 else np.zeros(len(found), np.int64)

    def vocab_size(self, modality: str) -> int | None:
        """Number of token ids of a text modality; None for float inputs."""
        return self.modalities[modality].recipe.get("vocab_size")

    @property
    def unlabelled(self) -> NDArray[np.int64]:
        """The rows without a label, ascending; they have every modality."""
        return self.splits.get(UNLABELLED, np.empty(0, np.int64))

    @property
    def taught_rows(self) -> NDArray[np.int64]:
        """The rows that a student may be taught with, ascending: of training and without a label."""
        return np.sort(np.concatenate([self.splits["train"], self.unlabelled]))

    def training_rows(self, *modalities: str) -> NDArray[np.int64]:
        """The training rows that have all of these, ascending: what a model of one modality is trained on."""
        rows = self.splits["train"]
        for name in modalities:
            rows = rows[self.modalities[name].has(rows)]
        return rows
