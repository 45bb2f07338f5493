"""What a person at a terminal sees: a progress bar while it runs, a table of results at the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from fdkd_core.cost_words import cost_lines
from fdkd_core.count_words import size
from fdkd_core.diagnosis.console import show_diagnosis
from fdkd_core.errors import InputError
from fdkd_core.events import Event
from fdkd_core.spec.compare import NO_TEACHER
from fdkd_core.spec.figures import figure
from fdkd_core.spec.findings import DiagnosisResult
from fdkd_core.spec.job import teacher_name
from fdkd_core.spec.measures import Measure
from fdkd_core.spec.pairing_words import goes_without_saying
from fdkd_core.spec.phase_words import phase_words
from fdkd_core.spec.result import (
    CompareResult,
    ModelResult,
    Result,
    RunResult,
    StudyResult,
)
from fdkd_core.spec.tasks import facts_of_figures
from fdkd_core.spec.uplift import half_width_of, noise_words, teacher_behind
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
                self._update(figures=f"epoch {event['epoch']}: {_epoch_figure(event)}")
            case "warning":
                self._say(f"[yellow]warning:[/] {event['message']}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)

    def _update(self, **fields: Any) -> None:
        if self._task is not None:
            self._progress.update(self._task, **fields)

    def _show_data(self, report: dict[str, Any]) -> None:
        counts = ", ".join(f"{split} {part['rows']}" for split, part in report["splits"].items())
        self._say(f"[bold]data[/]  {_labels_text(report)}; {counts}")
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
    first, second = facts_of_figures(result.student.test).measures[:2]
    unit = " in %" if first.form == "share" else ""
    # Narrow enough for 80 columns: what a terminal has unless told otherwise.
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=f"{result.name}: {first.words} and {second.words}{unit}",
        title_justify="left",
        title_style="bold",
    )
    for heading in ("", "sees", "network"):
        table.add_column(heading)
    for heading in ("params", "size", f"val {first.short}", f"test {first.short}", second.short, "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    teachers = [(teacher_name(index), found) for index, found in enumerate(result.more_teachers, start=1)]
    for role, model in (
        ("teacher", result.teacher),
        *teachers,
        ("student", result.student),
        ("control", result.control),
    ):
        if model is not None:
            table.add_row(
                *_row(role, model, first, second), style="bold green" if role == "student" else None
            )
    console.print(table)
    if result.auto is not None:
        show_search(console, result.auto, out_dir)
    if result.uplift is not None and (result.auto is None or result.auto.winner_label != NO_TEACHER):
        gain = result.uplift.gains[0]
        joint = "of" if first.form == "share" else "in"
        console.print(
            f"uplift over the control: [bold]{first.gain(gain.test)}[/] {joint} test {first.words}, "
            f"{noise_words(first, gain.test, half_width_of(gain), gain.groups, gain.grouped_by)}",
            highlight=False,
        )
    if result.teacher is not None and result.control is not None:
        found = (figure(model.test, first.name) for model in (result.teacher, *result.more_teachers))
        if told := teacher_behind(first, list(found), figure(result.control.test, first.name)):
            console.print(told, style="yellow", highlight=False)
    if result.uplift is not None and result.uplift.chance is not None and result.uplift.chance.warning:
        console.print(f"warning: {result.uplift.chance.warning}", style="yellow", highlight=False)
    teacher = None if result.teacher is None else result.teacher.latency
    for heading, words in cost_lines(result.student.latency, teacher, result.export):
        console.print(f"{heading}: {words}", highlight=False)
    for gate in result.gates:
        console.print(f"gate: {gate.sentence}", style=None if gate.passed else "yellow", highlight=False)
    for rows in result.taught:
        if not goes_without_saying(rows):
            console.print(rows.sentence, highlight=False)
    assert result.bundle is not None  # a refused student is an error
    console.print(f"student bundle: [bold]{out_dir / result.bundle}[/]", highlight=False, soft_wrap=True)


def show_problems(console: Console, error: InputError) -> None:
    """Prints every problem of bad input, one a line."""
    console.print(f"[bold red]{(error.__doc__ or error.code).strip().rstrip('.')}:[/]")
    for problem in error.problems:
        console.print(f"  - {problem}", markup=False, highlight=False, soft_wrap=True)


def _labels_text(report: dict[str, Any]) -> str:
    targets = report.get("targets") or ()
    if targets:
        return f"{len(targets)} number{'s' if len(targets) > 1 else ''}"
    return f"{len(report['classes'])} classes"


def _epoch_figure(event: Event) -> str:
    """The main figure of an epoch; an event has the fields of its task's metrics."""
    main = facts_of_figures(SimpleNamespace(**event)).main
    value = event[main.name]
    return f"val {main.words} {value:.3f}" if main.form == "share" else f"val {main.words} {main.text(value)}"


def _row(role: str, model: ModelResult, first: Measure, second: Measure) -> list[str]:
    network = str(model.architecture["name"])
    if "width" in model.architecture:
        network += f"-{model.architecture['width']}"
    return [
        role,
        model.modality,
        network,
        f"{model.parameters:,}" if model.parameters else "-",  # of recorded outputs nobody knows
        size(model.size_bytes) if model.size_bytes else "-",
        first.text(figure(model.val, first.name)),
        first.text(figure(model.test, first.name)),
        second.text(figure(model.test, second.name)),
        f"{model.seconds:.0f}s" if model.epochs else "given",
    ]
