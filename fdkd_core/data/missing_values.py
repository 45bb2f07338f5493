"""Training rows that lack the value of a modality: which may, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fdkd_core.count_words import count
from fdkd_core.data.labels import LabelIndex
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.table import Table
from fdkd_core.errors import DatasetError, Problem, quote


def note_missing(missing: Mapping[str, NDArray[np.bool_]], splits: Sequence[str], log: ProblemLog) -> None:
    """Notes the rows that must have a value and have none.

    Args:
        missing: Shape [rows] by column: rows without a value.
        splits: One per row.
        log: Receives `invalid_values`.
    """
    is_train = np.array([split == "train" for split in splits], dtype=bool)
    for name, rows in missing.items():
        for row in np.flatnonzero(rows & ~is_train):
            detail = f"the column {quote(name)} is empty here; only training rows may lack a value"
            log.add("invalid_values", detail, row=int(row) + 1, pointer=name)
        if is_train.any() and not (is_train & ~rows).any():
            log.add(
                "invalid_values", f"the column {quote(name)} is empty in every training row", pointer=name
            )


def lines_of(missing: Mapping[str, NDArray[np.bool_]]) -> list[str]:
    """Lines for the report about columns without a value in some training rows."""
    lacking = {
        name: count(int(rows.sum()), "training row has", "training rows have")
        for name, rows in missing.items()
    }
    return [f"column {name}: {rows} no value for a teacher to see" for name, rows in lacking.items()]


def complete_rows(table: Table, modalities: Sequence[str]) -> list[bool] | None:
    """Which rows have a value in each of some columns; None when all have."""
    lacking = [table.missing[name] for name in modalities if name in table.missing]
    return (~np.any(lacking, axis=0)).tolist() if lacking else None


def leave_out(
    train: NDArray[np.int64], table: Table, required: Sequence[str], labels: LabelIndex
) -> tuple[NDArray[np.int64], list[str]]:
    """The training rows that have all they must have, and lines for the report about the others.

    Args:
        train: Training rows.
        table: The data.
        required: Columns that a row must have.
        labels: Of the rows. Of numbers none can be missing.

    Raises:
        DatasetError: A class would be left without a row: `dataset_too_small`.
    """
    lines = []
    kept = np.ones(len(train), dtype=bool)
    for name in required:
        if name in table.missing and table.missing[name][train].any():
            lacking = table.missing[name][train]
            left_out = count(int(lacking.sum()), "training row")
            is_or_are = "is" if lacking.sum() == 1 else "are"
            lines.append(f"{left_out} without {quote(name)} {is_or_are} left out")
            kept &= ~lacking
    left = labels.counts(train[kept])
    gone = [name for name, count in labels.counts(train).items() if count and not left[name]]
    if gone:
        named = ", ".join(quote(name) for name in gone[:10])
        of = count(len(gone), "class", "classes")
        detail = f"no training row of {of} has all of {', '.join(required)}: {named}"
        raise DatasetError(Problem("dataset_too_small", detail, "label"))
    return train[kept], lines
