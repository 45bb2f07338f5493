"""Rows of a CSV manifest."""

from __future__ import annotations

import csv
import io
import threading

from fdkd_core.data.cells import Cells
from fdkd_core.data.limits import Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.errors import DatasetError, Problem, quote

_MAX_BROKEN_ROWS = 1_000
"""After this many, the rest of the file is not looked at: something is wrong with all of it."""
_field_limit = threading.Lock()


def parse_csv(content: bytes, log: ProblemLog, limits: Limits) -> Cells:
    """Reads a CSV file: commas, double quotes, a header, UTF-8.

    Cells are taken as they are: a formula such as `=cmd()` is text like any other.

    Args:
        content: The file.
        log: Receives `invalid_csv` for ragged rows and unclosed quotes, `exceeds_limit` for huge cells.
        limits: `max_rows`, `max_columns` and `max_cell_chars` apply.

    Returns:
        The columns.

    Raises:
        DatasetError: `invalid_csv` when the text is not UTF-8, holds NULs, or has no usable header;
            `exceeds_limit` for too many rows or columns.
    """
    text, warnings = _decoded(content)
    with _field_limit:  # a setting of the whole process
        before = csv.field_size_limit(limits.max_cell_chars)
        try:
            names, rows = _rows(text, log, limits)
        finally:
            csv.field_size_limit(before)
    columns: list[list[object]] = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in names]
    return Cells(names, columns, len(rows), warnings)


def _decoded(content: bytes) -> tuple[str, list[str]]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DatasetError(Problem("invalid_csv", "the manifest is UTF-16; save it as UTF-8"))
    nul = content.find(b"\0")
    if nul >= 0:
        raise DatasetError(
            Problem(
                "invalid_csv",
                f"a NUL byte at byte {nul}; the manifest must be UTF-8 text",
                row=_row(content, nul),
            )
        )
    warnings = []
    if content.startswith(b"\xef\xbb\xbf"):
        content = content[3:]
        warnings.append("the manifest begins with a byte order mark; it was passed over")
    try:
        return content.decode(), warnings
    except UnicodeDecodeError as error:
        raise DatasetError(
            Problem(
                "invalid_csv",
                f"the byte 0x{content[error.start]:02x} is not UTF-8; save the manifest as UTF-8",
                row=_row(content, error.start),
            )
        ) from error


def _row(content: bytes, position: int) -> int | None:
    """The row by counting lines; None in the header."""
    return content.count(b"\n", 0, position) or None


def _rows(text: str, log: ProblemLog, limits: Limits) -> tuple[list[str], list[list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, None)
    except csv.Error as error:
        raise DatasetError(Problem("invalid_csv", f"the header cannot be read: {error}")) from error
    if not header:
        raise DatasetError(Problem("invalid_csv", "the manifest is empty; a header is wanted"))
    names = [name.strip() for name in header]
    if len(names) > limits.max_columns:
        raise DatasetError(
            Problem(
                "exceeds_limit", f"the manifest has {len(names)} columns; {limits.max_columns} are allowed"
            )
        )
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise DatasetError(
            Problem(
                "invalid_csv", f"the header is the one column {quote(names[0])}; separate columns by commas"
            )
        )
    rows: list[list[str]] = []
    num_broken = 0
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            _log_unreadable(error, len(rows) + 1, log, limits)
            break
        if row is None:
            break
        if not row:  # an empty line
            continue
        if len(rows) == limits.max_rows:
            raise DatasetError(Problem("exceeds_limit", f"more than {limits.max_rows} rows"))
        rows.append(row)
        if len(row) != len(names):
            log.break_row(
                len(rows), "invalid_csv", f"the row has {len(row)} cells; the header has {len(names)} columns"
            )
            rows[-1] = [""] * len(names)
            num_broken += 1
            if num_broken > _MAX_BROKEN_ROWS:
                break
    return names, rows


def _log_unreadable(error: csv.Error, row: int, log: ProblemLog, limits: Limits) -> None:
    message = str(error)
    if "field limit" in message:
        log.add("exceeds_limit", f"a cell has more than {limits.max_cell_chars} characters", row=row)
    elif "end of data" in message:
        log.add("invalid_csv", "a quote that is opened in this row is never closed", row=row)
    else:
        log.add("invalid_csv", f"the row cannot be read: {message}", row=row)
