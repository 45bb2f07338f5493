"""The raw columns of a table: where the values of one modality lie, undecoded."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.source import MemberSource

Buffer = bytes | mmap | memoryview


@dataclass(slots=True)
class FileColumn:
    """Each row names a member of the source, which is read when it is asked for."""

    name: str
    source: MemberSource
    members: list[str]
    """Row to member; many rows may name the same."""

    def __len__(self) -> int:
        return len(self.members)

    def read(self, row: int) -> bytes:
        """The content of the file behind a row.

        Raises:
            RowError: The member is damaged, or over a limit.
        """
        return self.source.read(self.members[row])

    def key(self, row: int) -> Hashable:
        """The member's name."""
        return self.members[row]

    def file_name(self, row: int) -> str | None:
        """The member's name."""
        return self.members[row]

    def fingerprint(self, row: int) -> Hashable:
        """Cheap; rows of different fingerprints have different content."""
        return self.source.fingerprint(self.members[row])


@dataclass(slots=True)
class TextColumn:
    """Texts written into the table itself."""

    name: str
    values: list[str]

    def __len__(self) -> int:
        return len(self.values)

    def read(self, row: int) -> str:
        """The text of a row."""
        return self.values[row]

    def key(self, row: int) -> Hashable:
        """The text itself."""
        return self.values[row]

    def file_name(self, row: int) -> str | None:
        """None: there is no file."""
        return None


@dataclass(slots=True)
class ArrayColumn:
    """Arrays of one shape, such as those of an .npz."""

    name: str
    values: NDArray[Any]
    """Shape [rows, ...], at least two axes, finite, native byte order; read-only."""

    def __len__(self) -> int:
        return len(self.values)

    def read(self, row: int) -> NDArray[Any]:
        """A view of one row."""
        value: NDArray[Any] = self.values[row]
        return value

    def key(self, row: int) -> Hashable:
        """The row: looking for equal arrays would cost more than decoding them twice."""
        return row

    def file_name(self, row: int) -> str | None:
        """None: there is no file."""
        return None


@dataclass(slots=True)
class RaggedColumn:
    """Arrays that differ in the length of their first axis, such as series in parquet lists."""

    name: str
    values: NDArray[Any]
    """Shape [sum of lengths, ...]: all rows one after the other."""
    offsets: NDArray[np.int64]
    """Shape [rows + 1]: row r is `values[offsets[r]:offsets[r + 1]]`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def read(self, row: int) -> NDArray[Any]:
        """A view of one row."""
        value: NDArray[Any] = self.values[self.offsets[row] : self.offsets[row + 1]]
        return value

    def key(self, row: int) -> Hashable:
        """The row, as in ArrayColumn."""
        return row

    def file_name(self, row: int) -> str | None:
        """None: there is no file."""
        return None


@dataclass(slots=True)
class BytesColumn:
    """Files written into the table itself, as parquet holds them; equal ones are kept once."""

    name: str
    content: Buffer
    """All different values, one after the other."""
    offsets: NDArray[np.int64]
    """Shape [values + 1]: where each begins and ends."""
    index: NDArray[np.int64]
    """Shape [rows]: which value each row has."""
    file_names: list[str | None] | None = None
    """The names that came with the bytes, by row, if any did."""

    def __len__(self) -> int:
        return len(self.index)

    def read(self, row: int) -> bytes:
        """The bytes of a row."""
        number = int(self.index[row])
        with memoryview(self.content) as view:
            return bytes(view[int(self.offsets[number]) : int(self.offsets[number + 1])])

    def key(self, row: int) -> Hashable:
        """The number of the value among the different ones."""
        return int(self.index[row])

    def file_name(self, row: int) -> str | None:
        """The name that came with the bytes, or None."""
        return None if self.file_names is None else self.file_names[row]

    def fingerprint(self, row: int) -> Hashable:
        """The value's number: different numbers promise different content."""
        return int(self.index[row])
