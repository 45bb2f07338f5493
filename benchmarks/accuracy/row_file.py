"""Results as a CSV file that is added to, one training a row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path


def append(target: Path, fields: Sequence[str], rows: Iterable[dict[str, object]]) -> None:
    """Adds rows to the file, with a header where it is new."""
    is_new = not target.exists()
    with target.open("a", newline="") as file:
        writer = csv.DictWriter(file, fields)
        if is_new:
            writer.writeheader()
        writer.writerows(rows)
