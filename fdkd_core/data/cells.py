"""A manifest as columns of cells, whatever it was written in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cells:
    """What the parsers of .csv and .jsonl return."""

    names: list[str]
    """Of the columns, in the file's order; not yet checked."""
    columns: list[list[object]]
    """Cells by column. CSV has text only; JSON lines also have int, float, bool and None."""
    num_rows: int
    warnings: list[str]
    """Lines for the report."""
