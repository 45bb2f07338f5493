"""What a weights file says about itself, checked by us before any library reads it.

A safetensors file is: 8 bytes little-endian header length, a JSON header
`{name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {text: text}}`, then the data.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from math import prod
from typing import Any

from fdkd_core.errors import ModelFileError, Problem, quote

MAX_HEADER_BYTES = 8 << 20
MAX_TENSORS = 20_000
"""The library itself loads a file of 500,000 empty tensors: 3.3 s and 191 MB from 31 MB."""
_MAX_AXES = 8
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
_MAX_NAME_CHARACTERS = 200

DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}


@dataclass(frozen=True)
class TensorEntry:
    """One tensor as the header announces it."""

    dtype: str
    """A key of `DTYPE_BYTES`."""
    shape: tuple[int, ...]


def header_length(start: bytes) -> int:
    """Length of the JSON header in bytes, from the first 8 bytes of the file.

    Raises:
        ModelFileError: `invalid_safetensors`, where it is cut off or over `MAX_HEADER_BYTES`.
    """
    if len(start) < 8:
        raise _invalid(f"the file has {len(start)} bytes; a header length of 8 bytes is missing")
    length = int.from_bytes(start[:8], "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise _invalid(f"the header length is {length}; 2 to {MAX_HEADER_BYTES} bytes are allowed")
    return length


def parse_header(header: bytes, data_bytes: int) -> dict[str, TensorEntry]:
    """Checks the JSON header against our caps and the size of the data behind it.

    Args:
        header: The JSON, without its length.
        data_bytes: Bytes that follow the header in the file.

    Returns:
        The tensors by name.

    Raises:
        ModelFileError: `invalid_safetensors`: not such JSON, too many tensors, a name that is not dotted
            words, an unknown dtype, or offsets that overlap, leave gaps or miss the end of the file.
    """
    try:
        fields = json.loads(header, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        raise _invalid("the header is not JSON") from error
    if not isinstance(fields, dict):
        raise _invalid("the header is not a JSON object")
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid("__metadata__ is not a map of texts")
    if len(fields) > MAX_TENSORS:
        raise _invalid(f"{len(fields):,} tensors; at most {MAX_TENSORS:,} are allowed")

    entries: dict[str, TensorEntry] = {}
    spans: list[tuple[int, int, str]] = []
    for name, field in fields.items():
        if len(name) > _MAX_NAME_CHARACTERS or not _NAME.fullmatch(name):
            raise _invalid(f"the tensor name {quote(name)} is not letters, digits and _ joined by dots")
        entry, begin, end = _parse_entry(name, field)
        entries[name] = entry
        spans.append((begin, end, name))
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            raise _invalid(f"the data of {quote(name)} starts at {quote(begin)} where {position} was due")
        position = end
    if position != data_bytes:
        raise _invalid(f"the header announces {quote(position)} bytes of data; the file has {data_bytes}")
    return entries


def _parse_entry(name: str, field: Any) -> tuple[TensorEntry, int, int]:
    if not isinstance(field, dict) or field.keys() != {"dtype", "shape", "data_offsets"}:
        raise _invalid(f"{quote(name)} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = field["dtype"], field["shape"], field["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise _invalid(f"{quote(name)} has dtype {quote(dtype)}; allowed are {', '.join(DTYPE_BYTES)}")
    if not _are_sizes(shape) or len(shape) > _MAX_AXES:
        raise _invalid(f"{quote(name)} has shape {quote(shape)}; up to {_MAX_AXES} sizes from 0 are allowed")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise _invalid(f"{quote(name)} has data_offsets {quote(offsets)}; a begin and an end are allowed")
    begin, end = offsets
    if end - begin != prod(shape) * DTYPE_BYTES[dtype]:
        raise _invalid(f"{quote(name)} of shape {quote(shape)} does not fill its {quote(end - begin)} bytes")
    return TensorEntry(dtype, tuple(shape)), begin, end


def _are_sizes(values: Any) -> bool:
    """Whether `values` is a list of whole numbers that fit 63 bits, so that sums cannot surprise."""
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 63 for value in values)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate key")
    return fields


def _invalid(detail: str) -> ModelFileError:
    return ModelFileError(Problem("invalid_safetensors", f"Not a usable safetensors file: {detail}."))
