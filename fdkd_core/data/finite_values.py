"""Finding NaN and infinity, which no normalisation or loss survives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.limits import MiB
from fdkd_core.data.problems import ProblemLog
from fdkd_core.errors import quote

_CHECK_BYTES = 16 * MiB
"""Values looked at in one go: bounds the memory this takes."""


def check_finite(
    name: str, values: NDArray[Any], log: ProblemLog, offsets: NDArray[np.int64] | None = None
) -> None:
    """Notes the rows that hold NaN or infinity.

    Args:
        name: Of the column.
        values: Shape [rows, ...]; or with offsets, the rows one after the other.
        log: Receives `invalid_values`, once and without a row where every row is bad.
        offsets: Shape [rows + 1]: where each row begins and ends, as in `RaggedColumn`.
    """
    if values.dtype.kind != "f" or values.size == 0:
        return
    entries_at_once = max(1, _CHECK_BYTES // values[:1].nbytes)
    is_bad = np.zeros(len(values), dtype=bool)
    for start in range(0, len(values), entries_at_once):
        part = values[start : start + entries_at_once]
        is_bad[start : start + len(part)] = ~np.isfinite(part).reshape(len(part), -1).all(axis=1)
    rows = np.flatnonzero(is_bad) + 1
    num_rows = len(values)
    if offsets is not None:
        rows = np.unique(np.searchsorted(offsets, rows - 1, side="right"))
        num_rows = len(offsets) - 1
    if len(rows) == num_rows:
        log.add("invalid_values", f"every row of {quote(name)} holds NaN or infinity", pointer=name)
        return
    for row in rows:
        log.add("invalid_values", f"{quote(name)} holds NaN or infinity", row=int(row), pointer=name)
