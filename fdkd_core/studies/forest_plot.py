"""The plot of a comparison: each arm's difference to the control with its interval."""

from __future__ import annotations

from textwrap import fill
from typing import Any

from fdkd_core.plot_files import plot_file, plot_title
from fdkd_core.spec.compare import NO_TEACHER
from fdkd_core.spec.measures import MEASURES
from fdkd_core.spec.result import Arm, CompareResult

WIDTH_IN, ROW_IN, MARGIN_IN = 7.0, 0.32, 1.3
LABEL_CHARACTERS = 78
"""Of a line below the axis, which is centred on what the names of arms leave: longer ones were cut off."""
_COLOURS = {"helps": "#1a7f37", "no evidence": "#57606a", "hurts": "#cf222e"}


def render_forest_plot(result: CompareResult, kind: str) -> bytes:
    """Draws the differences to the control, in points; the same bytes for the same result.

    Args:
        result: The comparison.
        kind: `png` or `svg`.
    """
    shown = [arm for arm in result.arms if arm.difference is not None and arm.label != NO_TEACHER]

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for place, arm in enumerate(shown):
            _draw(axes, place, arm, MEASURES[result.metric].scale)
        axes.axvline(0.0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(shown)), [arm.label for arm in shown])
        axes.set_ylim(max(1, len(shown)) - 0.5, -0.5)
        axes.set_title(plot_title(result.name), loc="left")
        axes.set_xlabel(fill(axis_label(result), LABEL_CHARACTERS))
        axes.grid(axis="x", linewidth=0.3)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="y", length=0)
        if not shown:
            axes.text(0.5, 0.5, "no differences to show", transform=axes.transAxes, ha="center")

    return plot_file(draw, (WIDTH_IN, MARGIN_IN + ROW_IN * max(1, len(shown))), kind)


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
