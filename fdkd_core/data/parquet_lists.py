"""Numbers and lists of numbers in the columns of a parquet file. Runs in a child process: see `parquet`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_MAX_NESTING = 3
"""Lists in lists in lists: the axes of an image, or of a map."""


class UnevenRowsError(ValueError):
    """Lists that make no array."""

    def __init__(self, details: Mapping[int, str]) -> None:
        super().__init__("lists that make no array")
        self.details = details
        """What is wrong by row, counted from 0."""


def is_number(kind: Any) -> bool:
    """Whether an Arrow type is one of numbers, or of booleans."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def is_list(kind: Any) -> bool:
    """Whether an Arrow type is one of lists, of one length or of many."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def nesting(kind: Any) -> int:
    """How many lists lie in each other around numbers; 0 for what is no such list, or too deep."""
    for depth in range(1, _MAX_NESTING + 1):
        if not is_list(kind):
            return 0
        kind = kind.value_type
        if is_number(kind):
            return depth
    return 0


def join_lists(chunks: Sequence[Any]) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
    """The numbers of all rows, one row after the other.

    Args:
        chunks: Of one column of numbers or of lists of them.

    Returns:
        Shape [sum of lengths, inner axes...], in which missing floats are NaN, and the length of each row,
        0 where there is nothing. None where no row has a value.

    Raises:
        UnevenRowsError: Rows whose inner lists differ in length from most, are empty or are missing, or that
            lack a number which is no float.
    """
    parts: list[tuple[NDArray[np.int64], NDArray[Any]]] = []
    lengths = np.zeros(sum(len(chunk) for chunk in chunks), dtype=np.int64)
    start = 0
    for chunk in chunks:
        rows = start + np.flatnonzero(chunk.is_valid().to_numpy(zero_copy_only=False))
        start += len(chunk)
        try:
            values, lengths[rows] = _flattened(chunk.drop_null(), parts[0][1].shape[1:] if parts else ())
        except UnevenRowsError as error:
            raise UnevenRowsError({int(rows[row]): text for row, text in error.details.items()}) from None
        if values is not None:
            parts.append((rows[lengths[rows] > 0], values))
    if not parts:
        return None
    rows_of: Counter[tuple[int, ...]] = Counter()
    for rows, values in parts:
        rows_of[values.shape[1:]] += len(rows)
    usual = rows_of.most_common(1)[0][0]
    uneven = {
        int(row): f"its inner lists have the shape {values.shape[1:]}; most have {usual}"
        for rows, values in parts
        if values.shape[1:] != usual
        for row in rows
    }
    if uneven:
        raise UnevenRowsError(uneven)
    return np.concatenate([values for _, values in parts]), lengths


def _flattened(chunk: Any, known: Sequence[int]) -> tuple[NDArray[Any] | None, NDArray[np.int64]]:
    """The numbers of rows that are all there, and the length of each; no numbers where all are empty.

    Args:
        chunk: Without nulls.
        known: Sizes of the inner axes in the rows before, by which it is told who differs; empty at first.
    """
    lengths = np.ones(len(chunk), dtype=np.int64)
    inner: list[int] = []
    values = chunk
    while is_list(values.type):
        if values.null_count:
            raise _uneven(_nulls(values), lengths, inner, lambda _: "a list inside a list is missing")
        sizes = pc.list_value_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
        if values is chunk:
            lengths = sizes
        elif len(sizes):
            inner.append(_common_size(sizes, lengths, inner, known))
        values = values.flatten()
    if values.null_count and not pa.types.is_floating(values.type):
        raise _uneven(_nulls(values), lengths, inner, lambda _: "a number is missing")
    if not len(values):
        return None, lengths
    return values.to_numpy(zero_copy_only=False).reshape(-1, *inner), lengths


def _common_size(
    sizes: NDArray[np.int64], lengths: NDArray[np.int64], inner: Sequence[int], known: Sequence[int]
) -> int:
    """The length of all inner lists at one depth."""
    found, counts = np.unique(sizes, return_counts=True)
    usual = int(found[counts.argmax()])
    if known and known[len(inner)] in found:
        usual = known[len(inner)]
    if usual == 0:
        raise _uneven(sizes == 0, lengths, inner, lambda _: "there are empty lists inside lists")
    if len(found) > 1:
        where = sizes != usual
        raise _uneven(
            where,
            lengths,
            inner,
            lambda index: f"an inner list has {sizes[index]} values; others have {usual}",
        )
    return usual


def _nulls(values: Any) -> NDArray[np.bool_]:
    nulls: NDArray[np.bool_] = values.is_null().to_numpy(zero_copy_only=False)
    return nulls


def _uneven(
    is_bad: NDArray[np.bool_],
    lengths: NDArray[np.int64],
    inner: Sequence[int],
    words: Callable[[int], str],
) -> UnevenRowsError:
    """The error about values or lists at some depth, said of the rows that hold them.

    Args:
        is_bad: One per value at that depth.
        lengths: Of the rows.
        inner: Sizes of the axes between.
        words: From the index of a bad value to what is wrong with it.
    """
    indexes = np.flatnonzero(is_bad)
    rows = np.searchsorted(np.cumsum(lengths), indexes // prod(inner), side="right")
    rows, first = np.unique(rows, return_index=True)
    return UnevenRowsError(
        {int(row): words(int(index)) for row, index in zip(rows, indexes[first], strict=True)}
    )
