"""The header of a safetensors file, judged as far as it costs nothing; the worker reads the rest."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from fdkd_core.errors import InputError, Problem

MAX_HEADER_BYTES = 8 << 20
MAX_TENSORS = 20_000
"""Common readers load 500,000 empty tensors, in seconds and hundreds of MB."""
_MAX_BRACKETS = 400_000
"""Of a header: a tensor has three, texts in the metadata some. More would only make a parser swell."""
_LENGTH = struct.Struct("<Q")


def looks_like_safetensors(head: bytes) -> bool:
    """Whether a file begins like one: a header length below 2**24, then JSON.

    Args:
        head: The first 9 bytes or more. A short length can look like the mark of a pickle; the brace decides.
    """
    return head[3:8] == bytes(5) and head[8:9] == b"{"


def check_header(path: Path) -> None:
    """Checks what can be told from the header alone.

    Raises:
        InputError: `invalid_safetensors`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH.size)
        if len(start) < _LENGTH.size:
            raise _invalid(f"it has {size} bytes, less than the length of its header")
        (length,) = _LENGTH.unpack(start)
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise _invalid(f"the header length is {length}; 2 to {MAX_HEADER_BYTES} bytes are allowed")
        if length > size - _LENGTH.size:
            raise _invalid(f"the header should have {length} bytes; the file ends before")
        header = file.read(length)
    entries = _parse(header)
    if len(entries) > MAX_TENSORS:
        raise _invalid(f"it has {len(entries):,} tensors; at most {MAX_TENSORS:,} are allowed")
    _check_entries(entries, size - _LENGTH.size - length)


def _parse(header: bytes) -> dict[str, Any]:
    if header.count(b"[") + header.count(b"{") > _MAX_BRACKETS:
        raise _invalid("the header has more lists and objects than tensors need")
    try:
        entries = json.loads(header)
    except (ValueError, RecursionError):
        raise _invalid("the header is not JSON") from None
    if not isinstance(entries, dict):
        raise _invalid("the header is not a JSON object")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid("__metadata__ is not a map of texts")
    return entries


def _check_entries(entries: dict[str, Any], data_bytes: int) -> None:
    """Looks whether the tensors fill the file, each byte once."""
    spans: list[tuple[int, int]] = []
    for entry in entries.values():
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(end) is int for end in offsets):
            raise _invalid("a tensor has no begin and end")
        spans.append((offsets[0], offsets[1]))
    position = 0
    for begin, end in sorted(spans):
        if begin != position or end < begin:
            raise _invalid("the tensors overlap or leave gaps")
        position = end
    if position != data_bytes:
        raise _invalid("the tensors and the file do not end together")


def _invalid(detail: str) -> InputError:
    return InputError(Problem("invalid_safetensors", f"This is not a usable safetensors file: {detail}."))
