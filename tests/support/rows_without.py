"""Data of every task, in which some training rows have nothing for the teacher to see."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def write_without(path: Path, source: Path, rows: Collection[int], column: str = "clean") -> Path:
    """Writes a parquet file of an .npz of vectors and series, with nulls in one column.

    Args:
        path: The new file.
        source: The .npz, of any task whose labels are no masks.
        rows: Training rows that lose their value.
        column: Of vectors.
    """
    with np.load(source) as found:
        arrays: dict[str, Any] = {name: found[name] for name in found.files}
    values = [None if row in rows else value.tolist() for row, value in enumerate(arrays.pop(column))]
    columns = {
        column: pa.array(values, pa.list_(pa.float32())),
        "wave": pa.array(arrays.pop("wave").tolist(), pa.list_(pa.list_(pa.float32()))),
        "label": _labels(arrays.pop("label"), arrays.pop("class_names", None)),
    }
    pq.write_table(pa.table({**columns, **{name: array.tolist() for name, array in arrays.items()}}), path)
    return path


def empty_cells(folder: Path, rows: Collection[int], column: str) -> Path:
    """Empties some cells of a folder's manifest."""
    manifest = folder / "manifest.csv"
    with manifest.open(newline="") as file:
        records = list(csv.DictReader(file))
    for row in rows:
        records[row][column] = ""
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, records[0].keys())
        writer.writeheader()
        writer.writerows(records)
    return folder


def _labels(label: Any, class_names: Any) -> list[Any]:
    """As a parquet file holds them: names of classes, lists of names, or numbers."""
    if class_names is not None:
        return [[str(name) for name in class_names[row > 0]] for row in label]
    return label.tolist() if label.dtype.kind == "f" else [f"c{value}" for value in label]
