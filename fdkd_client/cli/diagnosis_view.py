"""A diagnosis as a person reads it: verdict, reasons, key figures, from plain JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fdkd_client.cli.terminal import new_table, plain
from fdkd_core.count_words import begin, duration, size
from fdkd_core.spec.measures import MEASURES, Measure

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_STYLES = {"promising": "bold green", "uncertain": "bold yellow", "unpromising": "bold red"}
_MARKS = {"for": ("+", "green"), "unclear": ("?", "yellow"), "against": ("-", "red")}


def diagnosis_view(result: dict[str, Any]) -> Group:
    """Verdict, reasons, what is shared by band, what the job would cost, and what to do next.

    Args:
        result: `result.json` of a job of kind `diagnose`. What is missing is left out, so that another
            release's document shows what it can.
    """
    from rich.console import Group
    from rich.text import Text

    verdict = str(result.get("verdict", "unknown"))
    findings = _part(result, "findings")
    title = Text.from_markup(
        f"[bold]{plain(result.get('name', ''))}[/]: [{_STYLES.get(verdict, 'bold')}]{plain(verdict)}[/]"
    )
    parts = [title, "", _reasons(result), "", *_similarity(findings), *_lines(findings)]
    steps = [step for step in result.get("advice", []) if isinstance(step, str)]
    if steps:
        parts += ["", Text("Next", style="bold"), _steps(steps)]
    return Group(*parts)


def _reasons(result: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=1)
    table.add_column(overflow="fold")
    for reason in result.get("reasons", []):
        mark, style = _MARKS.get(reason.get("speaks"), (" ", "default"))
        table.add_row(f"[bold {style}]{mark}[/]", plain(reason.get("text", "")))
    return table


def _similarity(findings: dict[str, Any]) -> Iterator[Any]:
    section = _part(findings, "similarity")
    measures = [m for m in section.get("measures", []) if m.get("measure") == "r2"]
    if not measures:
        return
    # What rows have in common that the second null leaves together; null where they have nothing.
    stratum = section.get("stratum", "class")
    nulls = ("shuffled",) if stratum is None else ("shuffled", f"within {plain(stratum)}")
    yield "[bold]Of the teacher's feature, predicted from the student's side (R², %)[/]"
    table = new_table("band", "student's", "as paired", *nulls, right=("as paired", *nulls))
    for found in measures:
        value = f"{100 * found['value']:.1f}"
        table.add_row(
            plain(found["band"]),
            plain(found["view"]),
            f"[bold green]{value}[/]" if found.get("is_above_shuffled") else value,
            _range(found["shuffled"]),
            *([] if stratum is None else [_range(found["shuffled_within_class"])]),
        )
    yield table
    yield ""


def _lines(findings: dict[str, Any]) -> Iterator[str]:
    headroom, speed = _part(findings, "headroom"), _part(findings, "speed")
    sample = _part(findings, "sample")
    if sample.get("unpaired_rows"):
        yield (
            f"{sample['unpaired_rows']:,} of {sample['train_rows']:,} training rows lack the teacher's "
            "modality and were left out."
        )
    if headroom:
        name = str(headroom["metric"])
        measure = MEASURES.get(name, Measure(name, name, name, "number"))
        teacher, student, chance = (
            measure.text(headroom[part], unit=True) for part in ("teacher", "student", "chance")
        )
        yield (
            f"{begin(plain(measure.words))} on validation: teacher {teacher}, student's modality {student}, "
            f"chance {chance}"
        )
    if speed:
        speeds = ", ".join(f"{plain(step['phase'])} {step['steps_per_s']:.3g}" for step in speed["steps"])
        memory = f"{size(speed['peak_bytes'])} of {plain(speed['memory'])} memory"
        yield f"Steps/s: {speeds}; the whole job about {duration(speed['total_s'])}, {memory}"


def _steps(steps: list[str]) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 1, 0, 0))
    for number, step in enumerate(steps, start=1):
        table.add_row(f"[bold]{number}.[/]", plain(step))
    return table


def _range(spread: dict[str, float]) -> str:
    return f"{100 * spread['low']:.1f} to {100 * spread['high']:.1f}"


def _part(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}
