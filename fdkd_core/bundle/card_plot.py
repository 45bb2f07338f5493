"""`figures.svg` of a bundle: what the models score and what they cost, as bars. No torch.

Without a plotting library, which takes a second to import, for every job. Equal figures give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from fdkd_core.spec.export_result import ExportReport
from fdkd_core.spec.figures import figure
from fdkd_core.spec.measures import Measure
from fdkd_core.spec.result import ModelResult
from fdkd_core.spec.tasks import facts_of_figures

_ROW, _BAR, _TOP = 28, 16, 44
_LABELS, _WIDTH, _GAP, _FIGURES = 120, 200, 20, 90
"""Pixels: column of names, longest bar, between the panels, column of numbers at the end of a bar."""
_MAX_LABEL = 16
_COLOURS = {"student": "#2f7d4f"}
_OTHERS = "#8a97a6"


@dataclass(frozen=True)
class _Bar:
    value: float
    text: str
    error: float = 0.0


def draw(models: Sequence[tuple[str, ModelResult]], export: ExportReport | None) -> str:
    """The plot as SVG: the main figure on the test split, and where it was measured the time for one sample.

    A main figure that is no share, like R², has no bar: there is no length that a bar of it should have.

    Args:
        models: Figures by role, in the order in which they are shown.
        export: What the ONNX files of the student cost.
    """
    main = facts_of_figures(models[0][1].test).main
    scores: dict[str, _Bar] = {}
    times: dict[str, _Bar] = {}
    for role, result in models:
        if main.form == "share":
            scores[role] = _score(main, figure(result.test, main.name), result.test.num_samples)
        if result.latency is not None:
            times |= _time(role, result.latency.median_ms(1))
    if export is not None:
        for file in [export.fp32] if export.kept is None else [export.fp32, export.kept]:
            if file.latency is not None:
                times |= _time(file.file, file.latency.median_ms(1))
    names = list(dict.fromkeys([*scores, *times]))
    panel = _WIDTH + _FIGURES
    width = _LABELS + panel + (_GAP + panel if times else 0)
    parts = [
        f'<text x="8" y="{_TOP + row * _ROW + _BAR - 3}" font-weight="{_weight(name)}">{_label(name)}</text>'
        for row, name in enumerate(names)
    ]
    if scores:
        noise = ", ± 2 standard errors" if main.name == "accuracy" else ""
        parts += _panel(f"test {main.words}, %{noise}", names, scores, _LABELS, 100.0)
    if times:
        slowest = max(bar.value for bar in times.values())
        parts += _panel("ms for one sample, one CPU thread", names, times, _LABELS + panel + _GAP, slowest)
    height = _TOP + len(names) * _ROW + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="#222">\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _score(main: Measure, share: float, number: int) -> _Bar:
    if main.name != "accuracy":
        return _Bar(100 * share, f"{100 * share:.1f}")
    error = 2 * math.sqrt(share * (1 - share) / max(1, number))
    return _Bar(100 * share, f"{100 * share:.1f} ±{100 * error:.1f}", 100 * error)


def _time(name: str, median_ms: float | None) -> dict[str, _Bar]:
    return {} if median_ms is None else {name: _Bar(median_ms, f"{median_ms:.3g}")}


def _panel(title: str, names: Sequence[str], bars: dict[str, _Bar], left: int, most: float) -> list[str]:
    """A heading and a bar for each name that has one; `most` is as long as a bar can be."""
    parts = [f'<text x="{left}" y="24" fill="#555">{title}</text>']
    scale = _WIDTH / most if most > 0 else 0.0
    for row, name in enumerate(names):
        bar = bars.get(name)
        if bar is None:
            continue
        top, length = _TOP + row * _ROW, bar.value * scale
        colour = _COLOURS.get(name, _OTHERS)
        parts.append(f'<rect x="{left}" y="{top}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>')
        end = left + length
        if bar.error > 0:
            ends = (min(most, max(0.0, bar.value + side)) for side in (-bar.error, bar.error))
            low, high = (left + place * scale for place in ends)
            middle = top + _BAR / 2
            parts.append(f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}" stroke="#222" stroke-width="1.5"/>')
            end = max(end, high)
        parts.append(f'<text x="{end + 6:.1f}" y="{top + _BAR - 3}">{escape(bar.text)}</text>')
    return parts


def _weight(name: str) -> str:
    return "bold" if name in _COLOURS else "normal"


def _label(name: str) -> str:
    return escape(name if len(name) <= _MAX_LABEL else name[: _MAX_LABEL - 1] + "…")
