"""Reads the columns of a parquet file with pyarrow. Runs in a child process: see `parquet`.

What a file costs is worked out from its footer before any page is read. Bytes and text are read as
dictionaries, so that a page which names one value a million times stays as small as it is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fdkd_core.data.annotations import RESERVED
from fdkd_core.data.column_names import column_names
from fdkd_core.data.columns import ArrayColumn, BytesColumn, RaggedColumn, TextColumn
from fdkd_core.data.description import Description
from fdkd_core.data.finite_values import check_finite
from fdkd_core.data.limits import Limits
from fdkd_core.data.parquet_footer import check_footer, check_growth, check_metadata, invalid_parquet
from fdkd_core.data.parquet_lists import UnevenRowsError, is_list, is_number, join_lists, nesting
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.source import OpenFile
from fdkd_core.errors import quote
from fdkd_core.modalities.base import RawColumn

_FILE_STRUCTS = ({"bytes"}, {"bytes", "path"})
_PANDAS_INDEX = "__index_level_"


@dataclass
class ParquetContent:
    """What is taken from a parquet file."""

    num_rows: int
    cells: dict[str, list[object]] = field(default_factory=dict)
    """The annotations by column: text, numbers, booleans and None, of `label` also lists of those. Other
    columns have no cells."""
    columns: dict[str, RawColumn] = field(default_factory=dict)
    """The modalities; and `label`, which has no cells then, where it is of a type that masks have."""
    missing: dict[str, list[int]] = field(default_factory=dict)
    """Rows, counted from 0, without a value by column, where there are some."""
    warnings: list[str] = field(default_factory=list)


def read_columns(
    file: OpenFile,
    description: Description,
    log: ProblemLog,
    limits: Limits,
    grant_bytes: Callable[[int], None] | None = None,
) -> ParquetContent:
    """Reads a parquet file into memory.

    Args:
        file: The open file.
        description: Its `group` and `ignore` apply.
        log: Receives what is wrong with single rows.
        limits: Sizes allowed.
        grant_bytes: Called with the bytes that all values take, once they are known to be allowed.

    Raises:
        DatasetError: `invalid_parquet` or `exceeds_limit`.
    """
    check_footer(file, limits)
    path = f"/dev/fd/{file.descriptor}"  # what was checked, whatever its name means by now
    try:
        metadata = pq.read_metadata(path)
        byte_leaves, num_bytes = check_metadata(metadata, file.num_bytes, limits)
        if grant_bytes is not None:
            grant_bytes(num_bytes)
        with pq.ParquetFile(
            path, read_dictionary=byte_leaves, metadata=metadata, memory_map=False, pre_buffer=False
        ) as parquet:
            return _read(parquet, file.num_bytes, description, log, limits)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise invalid_parquet(f"the file cannot be read: {quote(str(error), 120)}") from error


def _read(
    parquet: Any, file_bytes: int, description: Description, log: ProblemLog, limits: Limits
) -> ParquetContent:
    schema = parquet.schema_arrow
    for column in schema:
        if isinstance(column.type, pa.BaseExtensionType):
            raise invalid_parquet(
                f"the column {quote(column.name)} has an extension type; convert it to plain values"
            )
    names = [name for name in schema.names if not name.startswith(_PANDAS_INDEX)]
    found = column_names(names, description, log)
    log.raise_if_any()
    annotation_of = {name: annotation for annotation, name in found.written.items()}
    cells: dict[str, list[object]] = {annotation_of.get(name, name): [] for name in names}
    content = ParquetContent(parquet.metadata.num_rows, cells, warnings=found.warnings)
    reader = _Reader(parquet, file_bytes, log, limits, found.written)
    columns = found.modalities
    if "label" in cells and _is_mask(reader.type_of("label")):
        columns = [*found.modalities, "label"]
    for name in ({*RESERVED, description.group or "group"} & content.cells.keys()) - {*columns}:
        content.cells[name] = reader.scalars(name)
    for name in columns:
        read = reader.column(name)
        if read is not None:
            content.columns[name] = read
            if reader.missing:
                content.missing[name] = reader.missing
        elif name in description.modalities:
            log.add("invalid_values", _left_out(name, schema), pointer=name)
        else:
            content.warnings.append(_left_out(name, schema))
    return content


def _left_out(name: str, schema: Any) -> str:
    kind = quote(str(schema.field(name).type))
    return f"the column {quote(name)} is left out: its type {kind} cannot be a modality"


class _Reader:
    """Reads one column at a time, row group by row group."""

    def __init__(
        self, parquet: Any, file_bytes: int, log: ProblemLog, limits: Limits, written: Mapping[str, str]
    ) -> None:
        self._parquet = parquet
        self._written = written
        self._file_bytes = file_bytes
        self._log = log
        self._limits = limits
        self._num_rows: int = parquet.metadata.num_rows
        self._unpacked = 0
        self.missing: list[int] = []
        """Rows of the column read last that have no value."""

    def type_of(self, name: str) -> Any:
        """The Arrow type of a column."""
        return self._parquet.schema_arrow.field(self._written.get(name, name)).type

    def column(self, name: str) -> RawColumn | None:
        """The modality in a column; None when its type cannot be one."""
        self.missing = []
        kind = self.type_of(name)
        if pa.types.is_struct(kind):
            return self._files(name) if {field.name for field in kind} in _FILE_STRUCTS else None
        if _is_text(kind):
            return self._text(name)
        if _is_bytes(kind):
            return self._bytes_column(name, self._chunks(name), None)
        if is_number(kind) or nesting(kind):
            return self._numbers(name)
        return None

    def scalars(self, name: str) -> list[object]:
        """The values of an annotation as Python objects."""
        kind = self.type_of(name)
        if _is_text(kind):
            unique, index = self._distinct(self._chunks(name))
            return [unique[number] if number >= 0 else None for number in index]
        if is_number(kind) or pa.types.is_null(kind):
            chunks = self._chunks(name)
            self._count(chunks)
            return [value for chunk in chunks for value in chunk.to_pylist()]
        if name == "label" and is_list(kind) and (is_number(kind.value_type) or _is_text(kind.value_type)):
            chunks = self._chunks(name)
            self._count(chunks)
            return [value for chunk in chunks for value in chunk.to_pylist()]
        code, wanted = "invalid_values", "text or integers are wanted"
        if name == "label":
            code, wanted = (
                "invalid_label",
                f"{wanted}, lists of them, or masks: PNG bytes or rows of integers",
            )
        self._log.add(code, f"{quote(name)} has the type {quote(str(kind))}; {wanted}", pointer=name)
        return []

    def _text(self, name: str) -> TextColumn:
        unique, index = self._distinct(self._chunks(name))
        for row, number in enumerate(index):
            if number < 0 or not unique[number].strip():
                self.missing.append(row)
            elif len(unique[number]) > self._limits.max_cell_chars:
                self._too_long(name, row, len(unique[number]), "characters", self._limits.max_cell_chars)
        return TextColumn(name, [unique[number] if number >= 0 else "" for number in index])

    def _files(self, name: str) -> BytesColumn:
        """Structs of `bytes` and `path`, as Hugging Face datasets writes images and audio."""
        chunks = self._chunks(name)
        names: list[str | None] | None = None
        if chunks and chunks[0].type.get_field_index("path") >= 0:
            unique, index = self._distinct([pc.struct_field(chunk, "path") for chunk in chunks])
            names = [unique[number] if number >= 0 else None for number in index]
        return self._bytes_column(name, [pc.struct_field(chunk, "bytes") for chunk in chunks], names)

    def _bytes_column(self, name: str, chunks: list[Any], names: list[str | None] | None) -> BytesColumn:
        unique, index = self._distinct(chunks)
        unique = unique or [b""]
        for row, number in enumerate(index):
            if number < 0 or not unique[number]:
                self.missing.append(row)
                index[row] = 0  # some value, which is never read
            elif len(unique[number]) > self._limits.max_member_bytes:
                self._too_long(name, row, len(unique[number]), "bytes", self._limits.max_member_bytes)
        offsets = np.concatenate([[0], np.cumsum([len(value) for value in unique])]).astype(np.int64)
        return BytesColumn(name, b"".join(unique), offsets, np.array(index, dtype=np.int64), names)

    def _distinct(self, chunks: list[Any]) -> tuple[list[Any], list[int]]:
        """The different values of all chunks, and for each row which one it has: -1 for none."""
        unique: dict[Any, int] = {}
        index: list[int] = []
        num_bytes = 0
        for chunk in chunks:
            coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
            values = coded.dictionary.to_pylist()
            numbers = [-1 if value is None else unique.setdefault(value, len(unique)) for value in values]
            codes = coded.indices.to_pylist()
            index += [-1 if code is None else numbers[code] for code in codes]
            num_bytes += sum(len(values[code] or "") for code in codes if code is not None)
        self._unpacked += num_bytes
        check_growth(self._file_bytes, self._unpacked, self._limits)
        return list(unique), index

    def _numbers(self, name: str) -> RawColumn:
        """Numbers, or lists of them: of one shape, or of shapes that differ in the first axis alone."""
        chunks = self._chunks(name)
        self._count(chunks)
        try:
            joined = join_lists(chunks)
        except UnevenRowsError as error:
            for row, detail in error.details.items():
                self._log.add("invalid_values", f"{quote(name)}: {detail}", row=row + 1, pointer=name)
            return ArrayColumn(name, np.zeros((self._num_rows, 1), dtype=np.float32))  # which is refused
        if joined is None:
            self.missing = list(range(self._num_rows))
            return ArrayColumn(name, np.zeros((self._num_rows, 1), dtype=np.float32))
        values, lengths = joined
        self.missing = np.flatnonzero(lengths == 0).tolist()
        if (lengths == lengths[0]).all() and not self.missing:
            values = values.reshape(len(lengths), int(lengths[0]), *values.shape[1:])
            check_finite(name, values, self._log)
            return ArrayColumn(name, values)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        check_finite(name, values, self._log, offsets)
        return RaggedColumn(name, values, offsets)

    def _too_long(self, name: str, row: int, size: int, unit: str, allowed: int) -> None:
        self._log.add("exceeds_limit", f"{size} {unit}; {allowed} are allowed", row=row + 1, pointer=name)

    def _count(self, chunks: list[Any]) -> None:
        self._unpacked += sum(chunk.nbytes for chunk in chunks)
        check_growth(self._file_bytes, self._unpacked, self._limits)

    def _chunks(self, name: str) -> list[Any]:
        chunks = []
        written = self._written.get(name, name)
        for group in range(self._parquet.metadata.num_row_groups):
            table = self._parquet.read_row_group(group, columns=[written], use_threads=False)
            table.validate(full=True)  # the reader does not check the indexes of dictionaries
            chunks += table.column(written).chunks
        if sum(len(chunk) for chunk in chunks) != self._num_rows:
            raise invalid_parquet(f"the column {quote(name)} has another number of rows than the footer says")
        return chunks


def _is_mask(kind: Any) -> bool:
    """Whether an Arrow type is one of masks: files, or rows of integers."""
    if pa.types.is_struct(kind):
        return {field.name for field in kind} in _FILE_STRUCTS
    is_rows = nesting(kind) == 2 and not pa.types.is_floating(kind.value_type.value_type)
    return _is_bytes(kind) or is_rows


def _is_text(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
