"""What a parquet file costs and holds, told from its footer before any page is read."""

from __future__ import annotations

import base64
import struct
from typing import Any

from fdkd_core.data.limits import Limits
from fdkd_core.data.source import OpenFile
from fdkd_core.errors import DatasetError, Problem

_MAGIC = b"PAR1"
_TAIL_BYTES = 8
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
_INDEX_BYTES = 4


def _in_base64(text: bytes) -> list[bytes]:
    """What base64 makes of a text inside a longer one: there are three ways it may be aligned."""
    found = []
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + text)
        start = (shift * 8 + 5) // 6  # the first characters also hold bits of what comes before,
        found.append(encoded[start : (shift + len(text)) * 8 // 6])  # the last of what comes after
    return found


_EXTENSION_MARKS = _in_base64(b"ARROW:extension:name")
"""The footer holds the Arrow schema in base64, and this key in it where a column has an extension type."""


def check_footer(file: OpenFile, limits: Limits) -> None:
    """Refuses a file that is too large, cut off, or has extension types, by its last bytes alone."""
    if file.num_bytes > limits.max_parquet_file_bytes:
        raise DatasetError(
            Problem("exceeds_limit", f"{file.num_bytes} bytes; {limits.max_parquet_file_bytes} are allowed")
        )
    tail = file.read_at(max(0, file.num_bytes - _TAIL_BYTES), _TAIL_BYTES)
    if len(tail) < _TAIL_BYTES or tail[4:] != _MAGIC:
        raise invalid_parquet("the end of the file is missing; was the upload cut off?")
    (footer_bytes,) = struct.unpack("<I", tail[:4])
    if footer_bytes > limits.max_parquet_footer_bytes:
        raise invalid_parquet(
            f"the footer has {footer_bytes} bytes; {limits.max_parquet_footer_bytes} are allowed: "
            "write fewer row groups"
        )
    # Opening the file would already build its extension types, and some have run code while being built.
    footer = file.read_at(max(0, file.num_bytes - _TAIL_BYTES - footer_bytes), footer_bytes)
    if any(mark in footer for mark in _EXTENSION_MARKS):
        raise invalid_parquet("a column has an extension type; convert it to bytes, text, numbers or lists")


def check_metadata(metadata: Any, file_bytes: int, limits: Limits) -> tuple[list[str], int]:
    """Refuses by the footer alone; returns the leaves that hold bytes or text, and the unpacked size."""
    if metadata.num_row_groups > limits.max_row_groups:
        raise invalid_parquet(f"{metadata.num_row_groups} row groups; {limits.max_row_groups} are allowed")
    if metadata.num_rows > limits.max_rows:
        raise DatasetError(
            Problem("exceeds_limit", f"{metadata.num_rows} rows; {limits.max_rows} are allowed")
        )
    if metadata.num_columns > limits.max_columns:
        raise DatasetError(
            Problem("exceeds_limit", f"{metadata.num_columns} columns; {limits.max_columns} are allowed")
        )
    unpacked = 0
    byte_leaves = []
    for leaf in range(metadata.num_columns):
        column = metadata.schema.column(leaf)
        if column.physical_type == "BYTE_ARRAY":
            byte_leaves.append(column.path)
        for group in range(metadata.num_row_groups):
            chunk = metadata.row_group(group).column(leaf)
            if min(chunk.num_values, chunk.total_uncompressed_size, chunk.total_compressed_size) < 0:
                raise invalid_parquet("the footer has negative sizes")
            if column.physical_type == "BYTE_ARRAY":
                unpacked += chunk.total_uncompressed_size + _INDEX_BYTES * chunk.num_values
            else:
                width = _WIDTHS.get(column.physical_type, column.length)
                unpacked += max(chunk.total_uncompressed_size, width * chunk.num_values)
    check_growth(file_bytes, unpacked, limits)
    return byte_leaves, unpacked


def check_growth(file_bytes: int, unpacked: int, limits: Limits) -> None:
    """Refuses what unpacks to too much, or to too many times its size."""
    if unpacked > limits.max_table_bytes:
        raise invalid_parquet(f"it unpacks to {unpacked} bytes; {limits.max_table_bytes} are allowed")
    if unpacked > limits.total_ratio_floor_bytes and unpacked > limits.max_ratio * file_bytes:
        raise invalid_parquet(
            f"it unpacks from {file_bytes} to {unpacked} bytes; {limits.max_ratio}:1 is allowed"
        )


def invalid_parquet(detail: str) -> DatasetError:
    """The error for a file that is refused as a whole."""
    return DatasetError(Problem("invalid_parquet", detail))
