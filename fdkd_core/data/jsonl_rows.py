"""Rows of a manifest in JSON lines: one object a line."""

from __future__ import annotations

import json
from typing import Any

from fdkd_core.data.cells import Cells
from fdkd_core.data.limits import Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.errors import DatasetError, Problem, quote

_MAX_BROKEN_ROWS = 1_000
"""After this many, the rest of the file is not looked at: something is wrong with all of it."""


def parse_jsonl(content: bytes, log: ProblemLog, limits: Limits) -> Cells:
    """Reads a .jsonl file. The row of a problem is the number of its line.

    Args:
        content: The file, UTF-8. Every line has the keys of the first; values are text, numbers, booleans
            or null; of `label`, also lists of those.
        log: Receives `invalid_jsonl` for bad lines, `exceeds_limit` for long ones.
        limits: `max_rows`, `max_columns`, `max_line_bytes` and `max_cell_chars` apply.

    Returns:
        The columns.

    Raises:
        DatasetError: `exceeds_limit` for too many rows or columns; `invalid_jsonl` when no line is usable.
    """
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n", limits.max_rows + 1)
    while lines and not lines[-1].strip():
        lines.pop()
    if len(lines) > limits.max_rows:
        raise DatasetError(Problem("exceeds_limit", f"more than {limits.max_rows} lines"))
    names: list[str] = []
    rows: list[list[object]] = []
    num_broken = 0
    for number, line in enumerate(lines, start=1):
        try:
            record = _record(line, limits)
            if not names:
                names = list(record)
            rows.append(_ordered(record, names))
        except _BadLineError as bad:
            log.break_row(number, bad.code, f"line {number}: {bad}")
            rows.append([])
            num_broken += 1
            if num_broken > _MAX_BROKEN_ROWS:
                break
    if not names:
        log.raise_if_any()
        raise DatasetError(Problem("invalid_jsonl", "the manifest is empty; one object a line is wanted"))
    if len(names) > limits.max_columns:
        raise DatasetError(
            Problem(
                "exceeds_limit", f"the manifest has {len(names)} columns; {limits.max_columns} are allowed"
            )
        )
    blank = [None] * len(names)
    columns = [list(column) for column in zip(*(row or blank for row in rows), strict=True)]
    return Cells(names, columns, len(rows), [])


class _BadLineError(Exception):
    def __init__(self, detail: str, code: str = "invalid_jsonl") -> None:
        super().__init__(detail)
        self.code = code


def _record(line: bytes, limits: Limits) -> dict[str, Any]:
    if len(line) > limits.max_line_bytes:
        raise _BadLineError(f"{len(line)} bytes; {limits.max_line_bytes} are allowed", "exceeds_limit")
    try:
        record = json.loads(line.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise _BadLineError("not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise _BadLineError(f"not JSON: {quote(str(error), 120)}") from error
    if not isinstance(record, dict) or not record:
        raise _BadLineError("not an object with at least one key")
    return record


def _ordered(record: dict[str, Any], names: list[str]) -> list[object]:
    if record.keys() != set(names):
        missing = [name for name in names if name not in record]
        extra = [name for name in record if name not in names]
        what = f"lacks {quote(missing[0])}" if missing else f"has the key {quote(extra[0])}"
        raise _BadLineError(f"{what}, unlike the first line")
    for name in names:
        value = record[name]
        if name.strip().lower() == "label" and isinstance(value, list):
            _check_label_list(value)
            continue
        if isinstance(value, list | dict):
            raise _BadLineError(
                f"{quote(name)} is a {'list' if isinstance(value, list) else 'object'}: "
                "put arrays into .npy files, an .npz or parquet"
            )
        if isinstance(value, str) and not value.isascii() and not _is_encodable(value):
            raise _BadLineError(f"{quote(name)} contains half of a surrogate pair")
    return [record[name] for name in names]


def _check_label_list(parts: list[Any]) -> None:
    """A list of classes or numbers; what it must hold is a matter of the task."""
    for part in parts:
        if isinstance(part, list | dict):
            raise _BadLineError('"label" is a list of lists or objects; text or numbers are wanted in it')
        if isinstance(part, str) and not part.isascii() and not _is_encodable(part):
            raise _BadLineError('"label" contains half of a surrogate pair')


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key is there twice")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
