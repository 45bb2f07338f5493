from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
import pytest

from fdkd_core.data.columns import ArrayColumn, TextColumn
from fdkd_core.data.duplicates import find_duplicates
from fdkd_core.modalities.base import RowError


@dataclass
class FakeFiles:
    """A column of files that counts its reads."""

    name: str
    members: list[str]
    content: dict[str, bytes]
    reads: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.members)

    def read(self, row: int) -> bytes:
        self.reads.append(self.members[row])
        if self.members[row] not in self.content:
            raise RowError("missing_file", "gone")
        return self.content[self.members[row]]

    def key(self, row: int) -> Hashable:
        return self.members[row]

    def file_name(self, row: int) -> str | None:
        return self.members[row]

    def fingerprint(self, row: int) -> Hashable:
        return len(self.content.get(self.members[row], b""))


def test_finds_equal_content_across_splits_and_reads_each_file_once() -> None:
    content = {"a": b"11", "b": b"22", "c": b"11", "d": b"333"}
    column = FakeFiles("image", ["a", "a", "b", "c", "d", "b"], content)
    splits = ["train", "train", "train", "test", "test", "val"]
    found = find_duplicates({"image": column}, splits)
    assert [f.as_dict() for f in found] == [
        {"column": "image", "splits": ["train", "val"], "values": 1, "rows": [1, 1], "examples": [[3, 6]]},
        {"column": "image", "splits": ["train", "test"], "values": 1, "rows": [2, 1], "examples": [[1, 4]]},
    ]
    assert sorted(column.reads) == ["a", "b", "c"]  # d has a size of its own


def test_repeats_within_a_split_are_no_finding() -> None:
    assert find_duplicates({"t": TextColumn("t", ["x", "x", "y"])}, ["train", "train", "test"]) == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_finds_equal_arrays(dtype: type) -> None:
    values = np.arange(24, dtype=dtype).reshape(4, 3, 2)
    values[3] = values[0]
    (found,) = find_duplicates({"x": ArrayColumn("x", values)}, ["train", "train", "val", "test"])
    assert found.examples == [(1, 4)]
    assert "'r1' = 'r4'" in found.line(["r1", "r2", "r3", "r4"])


def test_passes_over_what_cannot_be_read() -> None:
    column = FakeFiles("image", ["a", "b"], {})
    assert find_duplicates({"image": column}, ["train", "test"]) == []


def test_shape_and_type_are_part_of_the_value() -> None:
    @dataclass
    class Mixed:
        name: str = "x"

        def __len__(self) -> int:
            return 2

        def read(self, row: int) -> np.ndarray:
            return np.zeros((2, 3) if row else (3, 2))

        def key(self, row: int) -> Hashable:
            return row

        def file_name(self, row: int) -> str | None:
            return None

    assert find_duplicates({"x": Mixed()}, ["train", "test"]) == []
