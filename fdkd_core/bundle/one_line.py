"""Parts of a spec for people, on one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def on_one_line(fields: Any) -> str:
    """Nested JSON on one line: `sgd (lr 0.05)`."""
    if isinstance(fields, Mapping):
        if "name" in fields:
            others = on_one_line({name: value for name, value in fields.items() if name != "name"})
            return f"{fields['name']} ({others})" if others else str(fields["name"])
        return ", ".join(_join(str(name), value) for name, value in fields.items() if value is not None)
    return str(fields)


def _join(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{name} ({on_one_line(value)})"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return f"{name} {list(value)}"
    return f"{name} {value}"
