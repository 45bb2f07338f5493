"""What a person at a terminal sees: a progress bar while it runs, a table of results at the end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from fdkd_core.cost_words import cost_lines
from fdkd_core.diagnosis.console import show_diagnosis
from fdkd_core.errors import InputError
from fdkd_core.events import Event
from fdkd_core.phase_words import phase_words
from fdkd_core.spec.compare import NO_TEACHER
from fdkd_core.spec.findings import DiagnosisResult
from fdkd_core.spec.job import teacher_name
from fdkd_core.spec.result import (
    CompareResult,
    ModelResult,
    Result,
    RunResult,
    StudyResult,
)
from fdkd_core.studies.console import show_comparison, show_search, show_study


class TerminalProgress:
    """A bar over all phases on stderr; on anything but a terminal, a line per phase instead."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._arms: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        match event["event"]:
            case "run_started":
                total = sum(phase["total_steps"] for phase in event["phases"])
                self._task = self._progress.add_task("preparing", total=total, figures="")
            case "data_loaded":
                self._show_data(event["report"])
            case "arm_started":
                self._arms[event["arm"]] = event["label"]
            case "phase_started":
                resumed = f", resumed at step {event['step']}" if event["resumed"] else ""
                self._say(f"[bold]{escape(phase_words(event['phase'], self._arms))}[/]{resumed}")
                self._update(description=event["phase"], figures="")
            case "step":
                self._update(completed=event["job_step"])
            case "epoch":
                self._update(figures=f"epoch {event['epoch']}: val accuracy {event['accuracy']:.3f}")
            case "warning":
                self._say(f"[yellow]warning:[/] {event['message']}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)

    def _update(self, **fields: Any) -> None:
        if self._task is not None:
            self._progress.update(self._task, **fields)

    def _show_data(self, report: dict[str, Any]) -> None:
        counts = ", ".join(f"{split} {part['rows']}" for split, part in report["splits"].items())
        self._say(f"[bold]data[/]  {len(report['classes'])} classes; {counts}")
        for name, modality in report["modalities"].items():
            self._say(f"      {name}: {modality['kind']} {modality['input_shape']}")
        for warning in report["warnings"]:
            self._say(f"      [yellow]{warning}[/]")


def show_result(console: Console, result: Result, out_dir: Path) -> None:
    """Prints what a job of any kind found."""
    match result:
        case RunResult():
            _show_run(console, result, out_dir)
        case StudyResult():
            show_study(console, result, out_dir)
        case CompareResult():
            show_comparison(console, result, out_dir)
        case DiagnosisResult():
            show_diagnosis(console, result, out_dir)


def _show_run(console: Console, result: RunResult, out_dir: Path) -> None:
    """The table of teacher, student and control, and what it means."""
    # Narrow enough for 80 columns: what a terminal has unless told otherwise.
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=f"{result.name}: accuracy and macro-F1 in %",
        title_justify="left",
        title_style="bold",
    )
    for heading in ("", "sees", "network"):
        table.add_column(heading)
    for heading in ("params", "size", "val acc", "test acc", "F1", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    teachers = [(teacher_name(index), found) for index, found in enumerate(result.more_teachers, start=1)]
    for role, model in (
        ("teacher", result.teacher),
        *teachers,
        ("student", result.student),
        ("control", result.control),
    ):
        if model is not None:
            table.add_row(*_row(role, model), style="bold green" if role == "student" else None)
    console.print(table)
    if result.auto is not None:
        show_search(console, result.auto)
    if result.uplift is not None and (result.auto is None or result.auto.winner_label != NO_TEACHER):
        uplift = result.uplift
        noise = 2 * uplift.standard_error
        verdict = (
            "within the noise of this test split"
            if abs(uplift.test_accuracy) <= noise
            else "more than the noise of this test split"
        )
        console.print(
            f"uplift over the control: [bold]{100 * uplift.test_accuracy:+.1f} points[/] of test accuracy, "
            f"{verdict} (±{100 * noise:.1f}; one seed)",
            highlight=False,
        )
    teacher = None if result.teacher is None else result.teacher.latency
    for heading, words in cost_lines(result.student.latency, teacher, result.export):
        console.print(f"{heading}: {words}", highlight=False)
    for gate in result.gates:
        console.print(f"gate: {gate.sentence}", style=None if gate.passed else "yellow", highlight=False)
    for rows in result.taught:
        if rows.paired_rows < rows.training_rows or rows.pairing == "class":
            console.print(rows.sentence, highlight=False)
    assert result.bundle is not None  # a refused student is an error
    console.print(f"student bundle: [bold]{out_dir / result.bundle}[/]", highlight=False, soft_wrap=True)


def show_problems(console: Console, error: InputError) -> None:
    """Prints every problem of bad input, one a line."""
    console.print(f"[bold red]{(error.__doc__ or error.code).strip().rstrip('.')}:[/]")
    for problem in error.problems:
        console.print(f"  - {problem}", markup=False, highlight=False, soft_wrap=True)


def _row(role: str, model: ModelResult) -> list[str]:
    network = str(model.architecture["name"])
    if "width" in model.architecture:
        network += f"-{model.architecture['width']}"
    return [
        role,
        model.modality,
        network,
        f"{model.parameters:,}" if model.parameters else "-",  # of recorded outputs nobody knows
        f"{model.size_bytes / 1024:,.0f}K" if model.size_bytes else "-",
        f"{100 * model.val.accuracy:.1f}",
        f"{100 * model.test.accuracy:.1f}",
        f"{100 * model.test.macro_f1:.1f}",
        f"{model.seconds:.0f}s" if model.epochs else "given",
    ]
