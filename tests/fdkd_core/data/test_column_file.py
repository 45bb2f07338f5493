import io
import json
import tempfile
from typing import Any

import numpy as np
import pytest

from fdkd_core.data.column_file import ColumnFileError, read_columns, write_columns
from fdkd_core.data.columns import ArrayColumn, BytesColumn, RaggedColumn, TextColumn
from fdkd_core.modalities.base import RawColumn


def columns() -> list[RawColumn]:
    return [
        ArrayColumn("acc", np.arange(12, dtype=np.float16).reshape(3, 2, 2)),
        RaggedColumn("series", np.arange(8.0).reshape(4, 2), np.array([0, 1, 3, 4])),
        TextColumn("text", ["ü", "日本", "ü"]),
        BytesColumn("image", b"aabbb", np.array([0, 2, 5]), np.array([1, 0, 1]), ["b.png", None, "c.png"]),
        BytesColumn("raw", b"a", np.array([0, 1]), np.array([0, 0, 0])),
        ArrayColumn("flag", np.array([[True], [False], [True]])),
    ]


def test_reads_what_was_written() -> None:
    with tempfile.TemporaryFile() as file:
        write_columns(file, {"rows": 3}, columns())
        header, found = read_columns(file)
    assert header == {"rows": 3}
    for column, expected in zip(found, columns(), strict=True):
        assert type(column) is type(expected)
        assert column.name == expected.name
        assert len(column) == 3
        for row in range(3):
            value, wanted = column.read(row), expected.read(row)
            assert type(value) is type(wanted)
            assert np.array_equal(value, wanted)
            assert getattr(value, "dtype", None) == getattr(wanted, "dtype", None)
            assert column.file_name(row) == expected.file_name(row)
        assert column.key(0) != column.key(1) or column.name == "raw"


def test_columns_without_rows() -> None:
    with tempfile.TemporaryFile() as file:
        write_columns(file, {}, [TextColumn("t", []), ArrayColumn("x", np.zeros((0, 3)))])
        assert [len(column) for column in read_columns(file)[1]] == [0, 0]


def broken(**changes: Any) -> bytes:
    """A file of one bytes column, whose description is changed."""
    file = io.BytesIO()
    write_columns(file, {}, [columns()[3]])
    content = file.getvalue()
    start = len(content) - 8 - int.from_bytes(content[-8:], "little")
    document = json.loads(content[start:-8])
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = document["columns"][0]
        for parent in parents:
            target = target[parent]
        target[last] = value
    described = json.dumps(document).encode()
    return content[:start] + described + len(described).to_bytes(8, "little")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        (1 << 40).to_bytes(8, "little"),
        b"[]" + (2).to_bytes(8, "little"),
        b"{" * 99 + (99).to_bytes(8, "little"),
        broken(type="FileColumn"),
        broken(values__offset=1 << 40),
        broken(values__offset=-1),
        broken(values__shape=[-1]),
        broken(values__shape=[1 << 50]),
        broken(values__shape=[4]),
        broken(values__dtype="|O"),
        broken(values__dtype="<f4"),
        broken(offsets__dtype="<f8"),
        broken(offsets__shape=[0]),
        broken(offsets__shape=[2]),
        broken(offsets__offset=0),
        broken(index__offset=64),
        broken(index__dtype="<f8"),
        broken(file_names=["a"]),
        broken(file_names=[1, 2, 3]),
        broken(file_names=7),
    ],
)
def test_believes_nothing(content: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        with pytest.raises(ColumnFileError):
            read_columns(file)


def test_the_unchanged_file_is_fine() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(broken())
        file.flush()
        assert read_columns(file)[1][0].read(0) == b"bbb"


def test_refuses_to_write_other_columns() -> None:
    class Other:
        name = "x"

    with pytest.raises(TypeError):
        write_columns(io.BytesIO(), {}, [Other()])  # type: ignore[list-item]
