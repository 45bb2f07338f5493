"""The dataset between reading and decoding: ids, splits, labels and one raw column per modality."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fdkd_core.modalities.base import RawColumn, Recipe

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Table:
    """Rows as read from the user's file, before any modality is decoded."""

    ids: list[str]
    splits: list[str]
    """One of `SPLITS` per row."""
    labels: list[str]
    """The label of each row as text; class indexes are made from the sorted training labels."""
    columns: dict[str, RawColumn]
    groups: list[str] | None = None
    """Rows of one group (a speaker, a patient) never part between training and validation."""
    class_names: list[str] | None = None
    """Names for integer labels 0..C-1, where the file brings them."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Kind per column where dataset.yaml states it."""
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options per column from dataset.yaml."""
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
    """Shape [rows]."""


@dataclass(frozen=True)
class PairedDataset:
    """Everything training needs, row-aligned."""

    ids: list[str]
    labels: NDArray[np.int64]
    """Shape [rows], class indexes."""
    classes: list[str]
    splits: dict[Split, NDArray[np.int64]]
    """Row numbers of each split, ascending."""
    modalities: dict[str, ModalityData]
    sha256: str
    report: dict[str, Any]
    """The data report (`data_report.json`)."""
