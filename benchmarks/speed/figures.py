"""The figures as CSV, one per line, and as tables to be read."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from timing import Rounds


@dataclass(frozen=True)
class Row:
    """One figure: the median of `count` values and their quartiles."""

    measure: str
    variant: str
    unit: str
    median: float
    q1: float
    q3: float
    count: int


SECTIONS = [
    ("Steps", ["step_time", "samples_per_s", "ratio_to_plain"]),
    ("Waiting for data, in `fit`", ["wait_share", "fit_step_time"]),
    ("Losses alone, forward and backward", ["loss_time", "ratio_to_cross_entropy"]),
    ("Peak memory", ["peak_memory", "peak_gpu_memory"]),
    ("Losses on this device against float64, largest relative error", ["loss_error_fp32", "loss_error_bf16"]),
]


def summarise(measure: str, variant: str, unit: str, values: Iterable[float]) -> Row:
    """Median and quartiles."""
    found = np.array(list(values))
    q1, median, q3 = np.quantile(found, [0.25, 0.5, 0.75]).tolist()
    return Row(measure, variant, unit, median, q1, q3, len(found))


def time_rows(measure: str, taken: dict[str, Rounds]) -> list[Row]:
    """Milliseconds per call, over all calls."""
    return [
        summarise(measure, name, "ms", [value for times in rounds for value in times])
        for name, rounds in taken.items()
    ]


def ratio_rows(measure: str, taken: dict[str, Rounds], base: str) -> list[Row]:
    """How many times the base's time each takes: medians compared within a round, then over rounds."""
    base_medians = [float(np.median(times)) for times in taken[base]]
    return [
        summarise(
            measure, name, "x",
            [float(np.median(times)) / one for times, one in zip(rounds, base_medians, strict=True)],
        )
        for name, rounds in taken.items()
    ]  # fmt: skip


def throughput_rows(taken: dict[str, Rounds], batch_size: int) -> list[Row]:
    """Samples per second, over all steps."""
    return [
        summarise(
            "samples_per_s", name, "samples/s",
            [1000 * batch_size / value for times in rounds for value in times],
        )
        for name, rounds in taken.items()
    ]  # fmt: skip


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """All figures, six digits each."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Row)])
        for row in rows:
            writer.writerow([f"{x:.6g}" if isinstance(x, float) else x for x in astuple(row)])


def tables(rows: Sequence[Row]) -> str:
    """A markdown table per section, variants down, measures across: median (first to third quartile)."""
    parts = []
    for title, measures in SECTIONS:
        found = {(row.variant, row.measure): row for row in rows if row.measure in measures}
        if not found:
            continue
        present = [name for name in measures if any(measure == name for _, measure in found)]
        units = {row.measure: row.unit for row in found.values()}
        header = ["variant", *(f"{name.replace('_', ' ')} [{units[name]}]" for name in present)]
        body = [
            [variant, *(_figure(found.get((variant, name))) for name in present)]
            for variant in dict.fromkeys(variant for variant, _ in found)
        ]
        widths = [max(len(line[i]) for line in [header, *body]) for i in range(len(header))]
        ruler = ["-" * width for width in widths]
        lines = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in [header, ruler, *body]
        ]
        parts.append(f"## {title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _figure(row: Row | None) -> str:
    if row is None:
        return ""
    if row.count == 1:
        return _number(row.median)
    return f"{_number(row.median)} ({_number(row.q1)} to {_number(row.q3)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
