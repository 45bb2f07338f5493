"""Draws the table of settings into `docs/settings.md`: `python -m service.settings_table`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from service.drawn_documents import redrawn
from service.settings import GIB, Settings

PATH = Path(__file__).parents[1] / "docs" / "settings.md"
NOT_SHOWN = {"trainer_command"}
"""A seam for tests."""
_MIB = 1 << 20


def draw() -> str:
    """A row for each setting: its variable, its default, and what it is."""
    rows = [
        f"| `FDKD_{name.upper()}` | {_default(name, field)} | {' '.join((field.description or '').split())} |"
        for name, field in Settings.model_fields.items()
        if name not in NOT_SHOWN
    ]
    return "\n".join(["| variable | default | what it is |", "|---|---|---|", *rows]) + "\n"


def redraw(document: str) -> str:
    """The document with its table made anew."""
    return redrawn(document, draw(), PATH.name)


def _default(name: str, field: FieldInfo) -> str:
    if name == "data_dir":
        return "`~/.local/share/fdkd`"  # of nobody in particular
    value: Any = field.default
    if name.endswith("_bytes") and value:
        return f"{value // GIB} GiB" if value % GIB == 0 else f"{value // _MIB} MiB"
    if value is None or value == "":
        return ""
    if name.endswith("_s"):
        return f"{value:g}"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    PATH.write_text(redraw(PATH.read_text(encoding="utf-8")), encoding="utf-8")
