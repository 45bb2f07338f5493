"""The part of a model card that says what the models cost to keep and to run. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from fdkd_core.count_words import size
from fdkd_core.spec.export_result import ExportReport, Latency
from fdkd_core.spec.result import ModelResult

_COLUMNS = ("model", "size", "multiply-adds", "1 sample", "32 samples", "runs in")


def costs_section(models: Sequence[tuple[str, ModelResult]], export: ExportReport | None) -> str:
    """The section as GitHub Markdown, "" where nothing was measured.

    Args:
        models: Figures by escaped role, in the order in which they are shown.
        export: What the ONNX files of the student cost.
    """
    measured = [(role, result) for role, result in models if result.latency is not None]
    if not measured and export is None:
        return ""
    rows = [
        (
            role,
            size(result.size_bytes),
            f"{result.multiply_adds:,}" if result.multiply_adds else "not counted",
            *_times(result.latency),
        )
        for role, result in measured
    ]
    note = ""
    if export is not None:
        found = [export.fp32] if export.kept is None else [export.fp32, export.kept]
        rows += [(f"`{one.file}`", size(one.size_bytes), "", *_times(one.latency)) for one in found]
        if export.int8_not_tried:
            note = f"\n\nEight-bit weights were not tried, because {export.int8_not_tried}."
        if export.int8:
            note = "\n\nEight-bit weights were tried, and judged on the validation split:\n"
            note += "".join(f"\n- {file.scheme}: {file.reason}" for file in export.int8)
    table = ["| " + " | ".join(_COLUMNS) + " |", "|---|---:|---:|---:|---:|---|"]
    table += ["| " + " | ".join(row) + " |" for row in rows]
    return (
        "## Size and speed\n\n"
        + "\n".join(table)
        + "\n\nMedian time of a forward pass on a CPU of the machine that trained, without preprocessing; in "
        "brackets the time that 95 % of the passes kept. Expect other times elsewhere, and much the same "
        f"ratios.{note}"
    )


def _times(latency: Latency | None) -> tuple[str, str, str]:
    if latency is None:
        return "", "", ""
    cells = {batch.batch_size: f"{batch.median_ms:.3g} ms ({batch.p95_ms:.3g})" for batch in latency.batches}
    threads = "1 thread" if latency.threads == 1 else f"{latency.threads} threads"
    return cells.get(1, "too slow"), cells.get(32, "too slow"), f"{latency.runtime}, {threads}"
