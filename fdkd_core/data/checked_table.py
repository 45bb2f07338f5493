"""The last step of every reader: checks over the whole data, then the table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.annotations import Annotations
from fdkd_core.data.description import Description
from fdkd_core.data.labels import read_class_names
from fdkd_core.data.limits import Limits
from fdkd_core.data.missing_values import note_missing
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.splits import check_splits, shared_groups
from fdkd_core.data.table import Table
from fdkd_core.errors import quote
from fdkd_core.modalities.base import RawColumn


def checked_table(
    annotations: Annotations,
    columns: dict[str, RawColumn],
    description: Description,
    log: ProblemLog,
    limits: Limits,
    *,
    sha256: str,
    warnings: Iterable[str],
    class_names: list[object] | None = None,
    missing: Mapping[str, NDArray[np.bool_]] | None = None,
) -> Table:
    """Raises everything noted, then what shows only on the whole: sizes, splits, classes.

    Args:
        annotations: Of each row.
        columns: The modalities.
        description: dataset.yaml, or an empty one.
        log: What the reader found wrong with single rows.
        limits: Sizes allowed.
        sha256: Identity of what was read.
        warnings: Lines for the report.
        class_names: Those of the data file; dataset.yaml has the last word.
        missing: Rows without a value by column; only training rows may lack one.

    Raises:
        DatasetError: With every problem found.
    """
    names = description.class_names if description.class_names is not None else class_names
    accepted = None if names is None else read_class_names(names, log, limits)
    for name in description.modalities:
        if name not in columns:
            log.add(
                "missing_column",
                f"there is no column {quote(name)} in the data",
                pointer=f"/modalities/{name}",
            )
    if not columns:
        log.add("missing_column", "there is no column that could be a modality")
    lacking = {name: rows for name, rows in (missing or {}).items() if rows.any()}
    note_missing(lacking, annotations.splits, log)
    log.raise_if_any()
    check_splits(annotations.splits, limits)
    labels = annotations.labels.index(annotations.splits, accepted, limits)
    lines = [*warnings, *annotations.warnings, *labels.warnings]
    if annotations.groups is not None:
        lines += shared_groups(annotations.groups, annotations.splits)
    return Table(
        ids=annotations.ids,
        splits=annotations.splits,
        labels=annotations.labels,
        columns=columns,
        groups=annotations.groups,
        class_names=accepted,
        kinds=description.kinds(),
        options=description.options(),
        missing=lacking,
        sha256=sha256,
        warnings=lines,
    )


def identity(*parts: str) -> str:
    """One hash over hashes and names."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
