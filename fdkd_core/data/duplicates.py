"""Equal values in different splits: rows the model is tested on but has trained on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.count_words import count
from fdkd_core.data.splits import SPLIT_PAIRS
from fdkd_core.errors import quote
from fdkd_core.modalities.base import RawColumn, RawValue, RowError

_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class CrossSplitDuplicates:
    """Values of one column that occur in both of two splits."""

    column: str
    first_split: str
    second_split: str
    num_values: int
    """Different values that both splits have."""
    num_first_rows: int
    """Rows of the first split that hold such a value."""
    num_second_rows: int
    examples: list[tuple[int, int]]
    """Row numbers from 1 of equal values: one row of each split."""

    def line(self, ids: Sequence[str]) -> str:
        """The finding as a line for the report."""
        pairs = ", ".join(f"{quote(ids[a - 1])} = {quote(ids[b - 1])}" for a, b in self.examples)
        verb = "is" if self.num_values == 1 else "are"
        return (
            f"column {self.column}: {count(self.num_values, 'value')} {verb} in both {self.first_split} "
            f"({count(self.num_first_rows, 'row')}) and {self.second_split} "
            f"({count(self.num_second_rows, 'row')}): {pairs}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {
            "column": self.column,
            "splits": [self.first_split, self.second_split],
            "values": self.num_values,
            "rows": [self.num_first_rows, self.num_second_rows],
            "examples": [list(pair) for pair in self.examples],
        }


def find_duplicates(
    columns: Mapping[str, RawColumn],
    splits: Sequence[str],
    missing: Mapping[str, NDArray[np.bool_]] | None = None,
) -> list[CrossSplitDuplicates]:
    """Looks for equal raw values across splits, column by column.

    Values named by many rows are read once, and files only where another has the same size. Values that
    cannot be read are passed over: decoding reports them.

    Args:
        columns: The modalities; each as long as `splits`.
        splits: The split of each row.
        missing: By column, which rows have no value; columns that have all need no entry.

    Returns:
        One finding for each column and pair of splits that share values.
    """
    return [
        found
        for name, column in columns.items()
        for found in _in_column(column, splits, (missing or {}).get(name))
    ]


def _in_column(
    column: RawColumn, splits: Sequence[str], missing: NDArray[np.bool_] | None
) -> list[CrossSplitDuplicates]:
    rows_of_key: dict[Hashable, list[int]] = defaultdict(list)
    for row in range(len(splits)):
        if missing is None or not missing[row]:
            rows_of_key[column.key(row)].append(row)
    # content -> split -> rows
    holders: dict[Hashable, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for content, rows in _with_content(column, list(rows_of_key.values())):
        for row in rows:
            holders[content][splits[row]].append(row)
    found = []
    for first, second in SPLIT_PAIRS:
        shared = [by_split for by_split in holders.values() if first in by_split and second in by_split]
        if shared:
            examples = sorted((by_split[first][0] + 1, by_split[second][0] + 1) for by_split in shared)
            found.append(
                CrossSplitDuplicates(
                    column.name,
                    first,
                    second,
                    len(shared),
                    sum(len(by_split[first]) for by_split in shared),
                    sum(len(by_split[second]) for by_split in shared),
                    examples[:_NUM_EXAMPLES],
                )
            )
    return found


def _with_content(column: RawColumn, sets: list[list[int]]) -> list[tuple[Hashable, list[int]]]:
    """Pairs of something that stands for the content, and rows that have it."""
    fingerprint: Callable[[int], Hashable] | None = getattr(column, "fingerprint", None)
    alike: dict[Hashable, list[list[int]]] = defaultdict(list)
    for rows in sets:
        alike[fingerprint(rows[0]) if fingerprint is not None else None].append(rows)
    contents: list[tuple[Hashable, list[int]]] = []
    for number, members in enumerate(alike.values()):
        if len(members) == 1:  # no other value can be equal, so there is nothing to read
            contents.append((number, members[0]))
            continue
        for rows in members:
            try:
                contents.append((_digest(column.read(rows[0])), rows))
            except RowError:
                continue
    return contents


def _digest(value: RawValue) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(value, str):
        digest.update(value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, bytes):
        digest.update(value)
    else:
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.digest()
