"""A dataset of vectors made of two arrays, for what looks at pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.table import ModalityData, PairedDataset, Split
from fdkd_core.modalities import KINDS


def paired_dataset(
    teacher: NDArray[np.float64],
    student: NDArray[np.float64],
    labels: NDArray[np.int64],
    splits: dict[Split, NDArray[np.int64]],
) -> PairedDataset:
    """Columns `teacher` and `student`, both of kind vector, one row per row of the arrays."""
    modalities = {}
    for name, array in (("teacher", teacher), ("student", student)):
        raw = array.astype(np.float32)
        kind = KINDS["vector"]
        recipe = kind.resolve({}, [kind.inspect(row) for row in raw[splits["train"]]])
        decoded = np.stack([kind.decode(row, recipe) for row in raw])
        recipe = kind.fit(decoded[splits["train"]], recipe)
        modalities[name] = ModalityData(recipe, decoded, np.arange(len(raw)))
    return PairedDataset(
        ids=[f"row{row}" for row in range(len(labels))],
        labels=labels.astype(np.int64),
        classes=[f"class {c}" for c in range(int(labels.max()) + 1)],
        splits=splits,
        modalities=modalities,
        sha256="arrays",
        report={},
    )


def without_teacher(data: PairedDataset, rows: NDArray[np.int64]) -> PairedDataset:
    """The same data, in which some training rows have nothing for the teacher to see."""
    teacher = data.modalities["teacher"]
    index = np.full(len(teacher.index), -1)
    there = np.setdiff1d(np.arange(len(index)), rows)
    index[there] = np.arange(len(there))
    lacking = ModalityData(teacher.recipe, teacher.values[teacher.index[there]], index)
    return replace(data, modalities={**data.modalities, "teacher": lacking})


def in_splits(train: int, val: int, test: int) -> dict[Split, NDArray[np.int64]]:
    """One split after the other."""
    return {
        "train": np.arange(train),
        "val": np.arange(train, train + val),
        "test": np.arange(train + val, train + val + test),
    }
