"""The plots of a diagnosis: similarity beside its nulls, shifts, headroom, and what the job would cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fdkd_core.diagnosis.tasks import words_of
from fdkd_core.plot_files import plot_file, printable
from fdkd_core.spec.findings import AlignmentFindings, Findings, ProbeFindings, Similarity, Spread
from fdkd_core.spec.measures import MEASURES, Measure

_WIDTH_IN = 8.0
_TEACHER, _STUDENT, _VALUE = "#9a6700", "#0969da", "#cf222e"
_SHUFFLED, _WITHIN, _ORDERS = "#afb8c1", "#54aeff", "#57606a"
_ALIGNMENT_TITLES = {
    "teacher_from_student": "teacher's sample from student's",
    "label_from_teacher": "label from teacher's sample",
    "label_from_student": "label from student's sample",
}
_VIEWS = {
    "inputs": "linear probe on inputs",
    "features": "linear probe on features",
    "network": "the network",
}


def render_plots(findings: Findings, kind: str) -> dict[str, bytes]:
    """Every plot by the name of its file without ending; the same bytes for the same findings.

    Args:
        findings: Of all sections.
        kind: `png` or `svg`.
    """
    drawings: dict[str, tuple[float, Callable[[Any, Findings], None]]] = {
        "similarity": (3.6, draw_similarity),
        "alignment": (2.8, _draw_alignment),
        "headroom": (2.6, draw_headroom),
        "speed": (2.4, _draw_speed),
    }
    return {name: _render(draw, findings, kind, height) for name, (height, draw) in drawings.items()}


def _render(draw: Callable[[Any, Findings], None], findings: Findings, kind: str, height_in: float) -> bytes:
    def draw_all(figure: Any) -> None:
        draw(figure, findings)
        for axes in figure.axes:
            axes.set_axisbelow(True)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)

    return plot_file(draw_all, (_WIDTH_IN, height_in), kind)


def draw_similarity(figure: Any, findings: Findings) -> None:
    """Every band from every view beside its nulls: R² on the left, CKA on the right."""
    found = findings.similarity
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"r2": "R² on held-out rows (ridge)", "cka": "linear CKA"}
    for axes, (measure, title) in zip(panels, titles.items(), strict=True):
        shown = [m for m in found.measures if m.measure == measure]
        for place, similarity in enumerate(shown):
            draw_value(axes, place, similarity)
        axes.set_title(title, loc="left")
        if not all(m.is_above_shuffled for m in shown):
            axes.set_xlabel("hollow: not above shuffled pairs", fontsize=8)
        axes.axvline(0.0, color="black", linewidth=0.6)
        axes.grid(axis="x", linewidth=0.3)
        axes.locator_params(axis="x", nbins=5)
        axes.set_yticks(range(len(shown)), [_row_name(m) for m in shown])
        axes.set_ylim(len(shown) - 0.5, -0.6)
        axes.tick_params(axis="y", length=0)
    keys: list[tuple[str, dict[str, Any]]] = [("shuffled pairs", {"color": _SHUFFLED, "linewidth": 9})]
    if found.stratum is not None:
        keys.append((f"shuffled within {found.stratum}", {"color": _WITHIN, "linewidth": 4}))
    keys += [
        ("band in other channel orders", {"color": _ORDERS, "linewidth": 1.2}),
        ("the pairs as given", {"color": _VALUE, "marker": "o", "linestyle": ""}),
    ]
    handles = [panels[0].plot([], [], label=label, **style)[0] for label, style in keys]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(
        "What the student's side tells of the teacher's feature, by band (mean over channels removed)",
        fontsize=10,
        x=0.01,
        ha="left",
    )


def draw_value(axes: Any, place: int, found: Similarity) -> None:
    """One measure of one band beside its nulls."""
    _draw_spread(axes, place, found.shuffled, _SHUFFLED, 9.0)
    if found.shuffled_within_class is not None:
        _draw_spread(axes, place, found.shuffled_within_class, _WITHIN, 4.0)
    if found.other_channel_orders is not None:
        _draw_spread(axes, place + 0.28, found.other_channel_orders, _ORDERS, 1.2)
    axes.plot(
        [found.value], [place], marker="o", markersize=6, color=_VALUE,
        markerfacecolor=_VALUE if found.is_above_shuffled else "white",
    )  # fmt: skip
    axes.annotate(
        f"{round(found.value, 3) + 0.0:.3f}",
        (found.value, place),
        xytext=(6, 4),
        textcoords="offset points",
        fontsize=8,
    )


def _draw_spread(axes: Any, place: float, found: Spread, colour: str, width: float) -> None:
    axes.plot([found.low, found.high], [place, place], color=colour, linewidth=width, solid_capstyle="butt")


def _row_name(found: Similarity) -> str:
    return f"{found.band}, from {found.view}"


def _draw_alignment(figure: Any, findings: Findings) -> None:
    scans = findings.pairing.alignment
    for axes, scan in zip(figure.subplots(1, len(scans)), scans, strict=True):
        _draw_scan(axes, scan)
    figure.suptitle(
        "Do shifted pairs fit better? R² on held-out rows; grey: shuffled rows",
        fontsize=10,
        x=0.01,
        ha="left",
    )


def _draw_scan(axes: Any, scan: AlignmentFindings) -> None:
    # The line keeps a narrow null visible.
    axes.axhspan(scan.shuffled.low, scan.shuffled.high, color=_SHUFFLED, linewidth=3)
    places = [0, *(fit.shift for fit in scan.shifts)]
    fits = [scan.fit, *(fit.fit for fit in scan.shifts)]
    better = {fit.shift for fit in scan.shifts if fit.is_better}
    colours = [_STUDENT if place == 0 else _VALUE if place in better else _ORDERS for place in places]
    axes.vlines(places, 0.0, fits, color=colours, linewidth=2.0)
    axes.scatter(places, fits, color=colours, s=26, zorder=3)
    axes.axhline(0.0, color="black", linewidth=0.6)
    axes.set_title(_ALIGNMENT_TITLES[scan.what], loc="left", fontsize=9)
    axes.set_xlabel("rows shifted (0: as given)")
    axes.set_xticks(sorted(places))
    axes.grid(axis="y", linewidth=0.3)


def draw_headroom(figure: Any, findings: Findings) -> None:
    """What each view reaches, beside chance."""
    found = findings.headroom
    measure = MEASURES[found.metric]
    axes = figure.subplots()
    names, values, colours = [], [], []
    for shown in found.probes:
        modality = next(network.modality for network in findings.networks if network.part == shown.part)
        names.append(f"{shown.part} ({printable(modality)}): {_VIEWS[shown.view]}")
        values.append(measure.scale * _value(shown, measure))
        colours.append(_TEACHER if shown.part == "teacher" else _STUDENT)
    axes.barh(range(len(names)), values, color=colours, height=0.65)
    for place, value in enumerate(values):
        # At the end of its bar; of one to the left of 0 at 0, since at its end are the names.
        text, end = measure.text(value / measure.scale), (max(value, 0.0), place)
        axes.annotate(text, end, xytext=(3, 0), textcoords="offset points", fontsize=8, va="center")
    axes.axvline(measure.scale * found.chance, color="black", linestyle="--", linewidth=0.9)
    axes.annotate(
        "chance",
        (measure.scale * found.chance, -0.55),
        xytext=(3, 0),
        textcoords="offset points",
        fontsize=8,
        va="center",
    )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.8)
    axes.set_xlim(*_range_of([*values, measure.scale * found.chance], measure))
    axes.tick_params(axis="y", length=0)
    unit = ", %" if measure.form == "share" else ""
    better = "" if measure.larger_is_better else " (less is better)"
    told = words_of(findings.task).told
    axes.set_title(f"{told}: {measure.words} on validation{unit}{better}", loc="left")
    axes.grid(axis="x", linewidth=0.3)


def _value(found: ProbeFindings, measure: Measure) -> float:
    return found.figures[measure.name]  # type: ignore[index]


def _range_of(values: list[float], measure: Measure) -> tuple[float, float]:
    """From 0, or from the worst R², to what is perfect, or to the largest error; with room for a label."""
    if not measure.larger_is_better:
        return 0.0, 1.12 * max(values, default=1.0) or 1.0
    # A probe may be worse than the mean by far, which is no reason to make all others a line.
    least = max(min([*values, 0.0]), -measure.scale)
    return 1.15 * least, 1.05 * measure.scale


def _draw_speed(figure: Any, findings: Findings) -> None:
    found = findings.speed
    speed, cost = figure.subplots(1, 2)
    names = [f"{step.phase} (batch {step.batch_size})" for step in found.steps]
    bars = speed.barh(
        range(len(names)), [step.steps_per_s for step in found.steps], color=_STUDENT, height=0.6
    )
    speed.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
    speed.set_yticks(range(len(names)), names)
    speed.set_title("steps per second", loc="left")
    parts = found.estimate
    bars = cost.barh(range(len(parts)), [part.seconds for part in parts], color=_TEACHER, height=0.6)
    cost.bar_label(bars, labels=[_duration(part.seconds) for part in parts], padding=3, fontsize=8)
    cost.set_yticks(range(len(parts)), [part.phase for part in parts])
    cost.set_title(f"the whole job, about {_duration(found.total_s)}", loc="left")
    cost.set_xlabel("seconds")
    for axes in (speed, cost):
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", linewidth=0.3)


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
