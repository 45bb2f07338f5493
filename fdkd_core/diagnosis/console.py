"""What a person at a terminal sees of a diagnosis: verdict, reasons, key figures, in 80 columns."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fdkd_core.diagnosis.wording import left_out
from fdkd_core.spec.findings import DiagnosisResult, Findings

_STYLES = {"promising": "bold green", "uncertain": "bold yellow", "unpromising": "bold red"}
_MARKS = {"for": ("+", "green"), "unclear": ("?", "yellow"), "against": ("-", "red")}


def show_diagnosis(console: Console, result: DiagnosisResult, out_dir: Path) -> None:
    """Prints what was found, and where the report is."""
    console.print(Text.assemble((result.name, "bold"), ": ", (result.verdict, _STYLES[result.verdict])))
    console.print()
    reasons = Table.grid(padding=(0, 1, 0, 0))
    reasons.add_column(width=1)
    reasons.add_column(overflow="fold")
    for reason in result.reasons:
        mark, style = _MARKS[reason.speaks]
        reasons.add_row(Text(mark, style=f"bold {style}"), Text(reason.text))
    console.print(reasons)
    console.print(_similarity_table(result.findings))
    missing = left_out(result.findings.sample)
    if missing:
        console.print(Text(missing))
    console.print(Text(_cost_line(result.findings)))
    console.print()
    steps = Table.grid(padding=(0, 1, 0, 0))
    for number, step in enumerate(result.advice, start=1):
        steps.add_row(Text(f"{number}.", style="bold"), Text(step))
    console.print(Text("Next", style="bold"))
    console.print(steps)
    report = out_dir / "report" / "diagnosis.md"
    console.print(Text.assemble("report: ", (str(report), "bold")), soft_wrap=True)


def _similarity_table(findings: Findings) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        title="Of the teacher's feature, predicted from the student's side (R², %)",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("band")
    table.add_column("student's")
    stratum = findings.similarity.stratum
    nulls = ("shuffled",) if stratum is None else ("shuffled", f"within {stratum}")
    for heading in ("as paired", *nulls):
        table.add_column(heading, justify="right", no_wrap=True)
    for found in findings.similarity.measures:
        if found.measure == "r2":
            spreads = (found.shuffled, found.shuffled_within_class)
            table.add_row(
                found.band,
                found.view,
                Text(f"{100 * found.value:.1f}", style="bold green" if found.is_above_shuffled else ""),
                *(f"{100 * null.low:.1f} to {100 * null.high:.1f}" for null in spreads if null is not None),
            )
    return table


def _cost_line(findings: Findings) -> str:
    found = findings.speed
    speeds = ", ".join(f"{step.phase} {step.steps_per_s:.3g}" for step in found.steps)
    return (
        f"Steps/s: {speeds}; the whole job about {found.total_s:.0f} s, "
        f"{found.peak_bytes / 2**20:,.0f} MiB of {found.memory} memory"
    )
