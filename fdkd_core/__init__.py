"""FDKD's training core. Importing it imports nothing else, so that the spec can be had without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdkd_core.bundle.student import load_student as load_student

__all__ = ["load_student"]


def __getattr__(name: str) -> Any:
    if name == "load_student":
        from fdkd_core.bundle.student import load_student

        return load_student
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
