"""The plot of a comparison: each arm's difference to the control with its interval."""

from __future__ import annotations

import io
from textwrap import fill
from typing import Any

from fdkd_core.spec.compare import NO_TEACHER
from fdkd_core.spec.measures import MEASURES
from fdkd_core.spec.result import Arm, CompareResult

WIDTH_IN, ROW_IN, MARGIN_IN, DPI = 7.0, 0.32, 1.3, 150
LABEL_CHARACTERS = 78
"""Of a line below the axis, which is centred on what the names of arms leave: longer ones were cut off."""
_COLOURS = {"helps": "#1a7f37", "no evidence": "#57606a", "hurts": "#cf222e"}
_STYLE: Any = {
    # Ids in an SVG come from this salt instead of a random one.
    "svg.hashsalt": "fdkd",
    "svg.fonttype": "path",
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so that every machine draws the same
    "font.size": 9.0,
    # A dollar sign in a name is no formula.
    "text.parse_math": False,
}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


def render_forest_plot(result: CompareResult, kind: str) -> bytes:
    """Draws the differences to the control, in points; the same bytes for the same result.

    Args:
        result: The comparison.
        kind: `png` or `svg`.
    """
    import matplotlib as mpl  # a second
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    shown = [arm for arm in result.arms if arm.difference is not None and arm.label != NO_TEACHER]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH_IN, MARGIN_IN + ROW_IN * max(1, len(shown))), layout="constrained")
        {"png": FigureCanvasAgg, "svg": FigureCanvasSVG}[kind](figure)
        axes = figure.add_subplot()
        for place, arm in enumerate(shown):
            _draw(axes, place, arm, MEASURES[result.metric].scale)
        axes.axvline(0.0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(shown)), [arm.label for arm in shown])
        axes.set_ylim(max(1, len(shown)) - 0.5, -0.5)
        axes.set_title(_title(result.name), loc="left", fontsize=10)
        axes.set_xlabel(fill(axis_label(result), LABEL_CHARACTERS))
        axes.grid(axis="x", linewidth=0.3)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="y", length=0)
        if not shown:
            axes.text(0.5, 0.5, "no differences to show", transform=axes.transAxes, ha="center")
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=_METADATA[kind])
    return buffer.getvalue()


def axis_label(result: CompareResult) -> str:
    """What the differences are of, and what the lines beside them are."""
    measure = MEASURES[result.metric]
    unit = ", points" if measure.form == "share" else ""
    has_one = max((len(arm.runs) for arm in result.arms), default=0) == 1
    how = "one seed" if has_one else f"95 % interval over {result.intervals}"
    return f"test {measure.words} over the tuned control without a teacher{unit}{measure.turned} ({how})"


def _draw(axes: Any, place: int, arm: Arm, scale: float) -> None:
    difference = arm.difference
    assert difference is not None
    colour = _COLOURS[arm.verdict or "no evidence"]
    axes.plot([scale * difference.low, scale * difference.high], [place, place], color=colour, linewidth=1.6)
    # Hollow: a teacher that is none.
    axes.plot(
        [scale * difference.mean], [place], marker="o", markersize=5.5, color=colour,
        markerfacecolor="white" if arm.is_control else colour,
    )  # fmt: skip


def _title(text: str) -> str:
    """What the font can show, on one line."""
    shown = text if len(text) <= 60 else text[:59] + "..."
    return "".join(character if character.isascii() else "?" for character in shown)
