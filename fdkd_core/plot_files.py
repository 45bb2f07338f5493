"""Plots as files: the same bytes for the same content."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

DPI = 150
_STYLE: dict[Any, Any] = {
    # Ids in an SVG come from this salt instead of a random one.
    "svg.hashsalt": "fdkd",
    "svg.fonttype": "path",
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so that every machine draws the same
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    # A dollar sign in a name is no formula.
    "text.parse_math": False,
}
_METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


def plot_file(draw: Callable[[Any], None], size_in: tuple[float, float], kind: str) -> bytes:
    """Has a figure drawn, and gives it as a file.

    Args:
        draw: Is given the empty figure of matplotlib.
        size_in: Width and height in inches.
        kind: `png` or `svg`.
    """
    import matplotlib as mpl  # a second
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size_in, layout="constrained")
        {"png": FigureCanvasAgg, "svg": FigureCanvasSVG}[kind](figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=_METADATA[kind])
    return buffer.getvalue()


def plot_title(text: str) -> str:
    """What the font can show of a name, on one line."""
    shown = text if len(text) <= 60 else text[:59] + "..."
    return printable(shown)


def printable(text: str) -> str:
    """What the font can show."""
    return "".join(character if character.isascii() else "?" for character in text)
