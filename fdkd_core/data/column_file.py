"""Columns as plain bytes in a file: how a child process hands over what it read, without pickles.

Layout: the bytes of arrays one after the other, then JSON that says where each lies, then the length of the
JSON as eight bytes. Whoever reads it trusts nothing: the writer has handled a stranger's file.
"""

from __future__ import annotations

import itertools
import json
import math
import mmap
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.columns import ArrayColumn, BytesColumn, RaggedColumn, TextColumn
from fdkd_core.modalities.base import RawColumn

_ALIGNMENT = 64
_TRAILER_BYTES = 8
_NUMBERS = "biuf"


class ColumnFileError(ValueError):
    """The file does not hold what it should."""


def write_columns(file: BinaryIO, header: Mapping[str, Any], columns: Sequence[RawColumn]) -> None:
    """Writes columns and whatever JSON goes with them.

    Args:
        file: Empty, open for writing.
        header: JSON.
        columns: Array, ragged, text or bytes columns.
    """
    writer = _Writer(file)
    described = [writer.column(column) for column in columns]
    content = json.dumps({"header": header, "columns": described}).encode()
    file.write(content + len(content).to_bytes(_TRAILER_BYTES, "little"))
    file.flush()


def read_columns(file: BinaryIO) -> tuple[dict[str, Any], list[RawColumn]]:
    """Reads what `write_columns` wrote. Arrays stay in the file, mapped into memory.

    Returns:
        The header and the columns.

    Raises:
        ColumnFileError: The file holds something else.
    """
    try:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        end = len(content) - _TRAILER_BYTES
        start = end - int.from_bytes(content[end:], "little")
        if start < 0:
            raise ColumnFileError("the length is wrong")
        document = json.loads(content[start:end])
        columns = [_column(content, described) for described in document["columns"]]
        header = document["header"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ColumnFileError(f"the column file is broken: {error}") from error
    if not isinstance(header, dict):
        raise ColumnFileError("the header is no object")
    return header, columns


class _Writer:
    """Appends arrays and remembers where they went."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0

    def column(self, column: RawColumn) -> dict[str, Any]:
        """Writes one column; returns its description."""
        named = {"name": column.name, "type": type(column).__name__}
        if isinstance(column, ArrayColumn):
            return {**named, "values": self._array(column.values)}
        if isinstance(column, RaggedColumn):
            return {**named, "values": self._array(column.values), "offsets": self._array(column.offsets)}
        if isinstance(column, BytesColumn):
            content = np.frombuffer(column.content, np.uint8)
            files = {"index": self._array(column.index), "file_names": column.file_names}
            return {**named, **files, "values": self._array(content), "offsets": self._array(column.offsets)}
        if isinstance(column, TextColumn):
            number_of: dict[str, int] = {}
            index = [number_of.setdefault(text, len(number_of)) for text in column.values]
            encoded = [text.encode() for text in number_of]
            return {
                **named,
                "values": self._array(np.frombuffer(b"".join(encoded), np.uint8)),
                "offsets": self._array(np.cumsum([0, *map(len, encoded)], dtype=np.int64)),
                "index": self._array(np.array(index, dtype=np.int64)),
            }
        raise TypeError(f"no way to write a {type(column).__name__}")

    def _array(self, array: NDArray[Any]) -> dict[str, Any]:
        padding = -self._position % _ALIGNMENT
        self._file.write(bytes(padding))
        self._position += padding
        described = {"dtype": array.dtype.str, "shape": list(array.shape), "offset": self._position}
        self._file.write(np.ascontiguousarray(array).data)
        self._position += array.nbytes
        return described


def _column(content: mmap.mmap, described: dict[str, Any]) -> RawColumn:
    name, kind = str(described["name"]), described["type"]
    values = _array(content, described["values"])
    if kind == ArrayColumn.__name__:
        if values.ndim < 2:
            raise ColumnFileError("an array without rows")
        return ArrayColumn(name, values)
    offsets = _array(content, described["offsets"])
    if offsets.dtype != np.int64 or offsets.ndim != 1 or not len(offsets) or values.ndim < 1:
        raise ColumnFileError("bad offsets")
    if offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
        raise ColumnFileError("bad offsets")
    if kind == RaggedColumn.__name__:
        return RaggedColumn(name, values, offsets)
    index = _array(content, described["index"])
    if index.dtype != np.int64 or index.ndim != 1 or values.dtype != np.uint8 or values.ndim != 1:
        raise ColumnFileError("bad index")
    if len(index) and not 0 <= index.min() <= index.max() < len(offsets) - 1:
        raise ColumnFileError("bad index")
    if kind == TextColumn.__name__:
        texts = [values[a:b].tobytes().decode() for a, b in itertools.pairwise(offsets)]
        return TextColumn(name, [texts[number] for number in index])
    if kind == BytesColumn.__name__:
        return BytesColumn(
            name, values.data, offsets, index, _file_names(described["file_names"], len(index))
        )
    raise ColumnFileError(f"the unknown type {kind!r}")


def _array(content: mmap.mmap, described: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(described["dtype"])
    shape = described["shape"]
    if dtype.kind not in _NUMBERS or any(type(size) is not int or size < 0 for size in shape):
        raise ColumnFileError("a bad array")
    count = math.prod(shape)
    if count == 0:
        return np.zeros(shape, dtype)
    array: NDArray[Any] = np.frombuffer(content, dtype, count=count, offset=described["offset"])
    return array.reshape(shape)


def _file_names(names: Any, num_rows: int) -> list[str | None] | None:
    if names is None:
        return None
    if len(names) != num_rows or any(name is not None and not isinstance(name, str) for name in names):
        raise ColumnFileError("bad file names")
    return list(names)
