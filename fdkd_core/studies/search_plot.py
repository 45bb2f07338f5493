"""The plot of a search: what each configuration had on validation, rung by rung, up to the finalists."""

from __future__ import annotations

import statistics as means
from typing import Any

from fdkd_core.count_words import count
from fdkd_core.plot_files import plot_file, plot_title
from fdkd_core.spec.auto_result import AutoConfiguration, AutoFinalist, AutoReport
from fdkd_core.spec.compare import NO_TEACHER
from fdkd_core.spec.figures import figure
from fdkd_core.spec.measures import MEASURES, Measure

WIDTH_IN, HEIGHT_IN, LEGEND_ROW_IN = 7.5, 3.8, 0.2
_CONTROL = "#24292f"
_REMARK = "#57606a"
_COLOURS = ("#0969da", "#bc4c00", "#8250df", "#1a7f37", "#bf3989", "#9a6700", "#1b7c83")
_MARKERS = "ovD^P<X>"
"""Of methods beyond the first seven, which share colours."""
_SPREAD = 0.62
"""Of the place between two stages, over which the methods stand side by side."""


def render_search_plot(name: str, report: AutoReport, kind: str) -> bytes:
    """Draws every training of a search; the same bytes for the same report.

    Args:
        name: Of the job.
        report: What was tried, and what came of it.
        kind: `png` or `svg`.
    """
    # Of the legend, the marks that are no methods among its rows.
    rows = len({tried.label for tried in report.configurations}) + 5
    size_in = (WIDTH_IN, max(HEIGHT_IN, LEGEND_ROW_IN * rows))
    return plot_file(lambda figure: _draw(figure, name, report), size_in, kind)


def _draw(canvas: Any, name: str, report: AutoReport) -> None:
    measure = MEASURES[report.select_by]
    longest = max((tried.rungs for tried in report.configurations), key=len)
    axes = canvas.add_subplot()
    _draw_trainings(axes, report, measure, len(longest))
    stages = [f"rung {rung + 1}\n{count(trained.epochs, 'epoch')}" for rung, trained in enumerate(longest)]
    axes.set_xticks(range(len(stages) + 1), [*stages, _final_stage(report)])
    axes.set_xlim(-0.5, len(stages) + 0.5)
    for edge in range(len(stages)):
        axes.axvline(edge + 0.5, color="#d0d7de", linewidth=0.8)
    axes.set_ylabel(
        f"validation {measure.heading}" + ("" if measure.larger_is_better else "; less is better")
    )
    axes.set_title(plot_title(name), loc="left")
    axes.grid(axis="y", linewidth=0.3)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _draw_trainings(axes: Any, report: AutoReport, measure: Measure, rungs: int) -> None:
    labels = list(dict.fromkeys(tried.label for tried in report.configurations))
    worst = bound(report, measure)
    remarks: dict[str, dict[str, Any]] = {
        "handed over": {"marker": "*", "markersize": 11},
        "each fresh seed": {"marker": "_"},
    }
    for tried in report.configurations:
        label = labels.index(tried.label)
        style = _style(tried.label, label)
        colour, place = style["color"], _SPREAD * ((label + 0.5) / len(labels) - 0.5)
        final = next((found for found in report.finalists if found.number == tried.number), None)
        is_winner = tried.number == report.winner
        points = _points(tried, final, measure, rungs, worst)
        axes.plot(
            [place + stage for stage, _ in points], [value for _, value in points], **style,
            linewidth=2.2 if is_winner else 0.9, markersize=4.5, alpha=1.0 if is_winner else 0.55,
            zorder=3 if is_winner else 2,
        )  # fmt: skip
        for rung, trained in enumerate(tried.rungs):
            if trained.val is None:
                # At the end of the axis where figures are worst.
                remarks["diverged"] = {"marker": "x"}
                y = 0.03 if measure.larger_is_better else 0.97
                axes.plot([place + rung], [y], marker="x", color=colour, transform=axes.get_xaxis_transform())
            elif measure.signed(figure(trained.val, measure.name)) < worst:
                remarks["worse than shown"] = hollow = {"marker": "o", "markerfacecolor": "white"}
                axes.plot([place + rung], [dict(points)[rung]], color=colour, zorder=4, **hollow)
        if final is not None and final.val is not None:
            seeds = [measure.scale * figure(run.val, measure.name) for run in final.runs]
            axes.plot([place + rungs] * len(seeds), seeds, "_", color=colour, markersize=15)
            if is_winner:
                star = {"markersize": 15, "markeredgecolor": "white", "zorder": 4}
                axes.plot([place + rungs], [dict(points)[rungs]], "*", color=colour, **star)
    for label, text in enumerate(labels):
        axes.plot([], [], **_style(text, label), label=text)
    for text, mark in remarks.items():
        axes.plot([], [], color=_REMARK, linestyle="", label=text, **mark)


def bound(report: AutoReport, measure: Measure) -> float:
    """How bad a figure may be and still be drawn where it is, turned so that larger is better.

    A rate far too high leaves a loss beside which all others are one line; a share has its own bound.
    """
    found = [
        measure.signed(figure(rung.val, measure.name))
        for tried in report.configurations
        for rung in tried.rungs
        if rung.val is not None
    ]
    if measure.form == "share" or not found:
        return -float("inf")
    best, middle = max(found), means.median(found)
    return middle - 3.0 * (best - middle) if best > middle else min(found)


def _points(
    tried: AutoConfiguration, final: AutoFinalist | None, measure: Measure, rungs: int, worst: float
) -> list[tuple[int, float]]:
    """Stage and figure of each training that ended, as shown; of a finalist their mean over seeds."""
    points = [
        (rung, max(worst, measure.signed(figure(trained.val, measure.name))))
        for rung, trained in enumerate(tried.rungs)
        if trained.val is not None
    ]
    if final is not None and final.val is not None:
        points.append((rungs, final.val))
    return [(stage, measure.scale * measure.signed(value)) for stage, value in points]


def _style(text: str, label: int) -> dict[str, Any]:
    if text == NO_TEACHER:
        return {"color": _CONTROL, "marker": "s", "linestyle": "--"}
    method = label - 1
    colour, turn = _COLOURS[method % len(_COLOURS)], method // len(_COLOURS)
    return {"color": colour, "marker": _MARKERS[turn % len(_MARKERS)], "linestyle": "-"}


def _final_stage(report: AutoReport) -> str:
    runs = max((found.runs for found in report.finalists), key=len)
    return f"finalists\n{count(runs[0].epochs, 'epoch')}, {count(len(runs), 'seed')}" if runs else "finalists"
