"""What a terminal of 80 columns shows of a study and of a comparison."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fdkd_core.cost_words import cost_lines
from fdkd_core.spec.auto_result import AutoFinalist, AutoReport
from fdkd_core.spec.compare import NO_TEACHER
from fdkd_core.spec.result import (
    Arm,
    CompareResult,
    Estimate,
    FinalRun,
    SplitMetrics,
    StudyResult,
)
from fdkd_core.studies import statistics
from fdkd_core.studies.report import parameters_text


def show_study(console: Console, result: StudyResult, out_dir: Path) -> None:
    """The final runs, and what they were tuned to."""
    table = _table(f"{result.name}: final runs of {result.method['name']}, in %")
    for heading in ("seed", "val acc", "test acc", "test F1", "best epoch", "time"):
        table.add_column(heading, justify="right")
    for run in result.runs:
        table.add_row(str(run.seed), *_figures(run), f"{run.best_epoch}/{run.epochs}", f"{run.seconds:.0f}s")
    console.print(table)
    diverged = sum(trial.val is None for trial in result.trials)
    told = f", of which {diverged} diverged" if diverged else ""
    values = parameters_text({"lr": result.lr, **result.parameters})
    console.print(f"tuned in {len(result.trials)} trials{told}: {escape(values)}", highlight=False)
    accuracy = statistics.estimate([run.test.accuracy for run in result.runs])
    console.print(f"test accuracy: [bold]{_with_interval(accuracy)}[/]", highlight=False)
    teacher = None if result.teacher is None else result.teacher.latency
    for heading, words in cost_lines(result.student.latency, teacher, result.export):
        console.print(f"{heading}: {words}", highlight=False)
    _show_path(console, "student bundle", out_dir / result.bundle)


def show_comparison(console: Console, result: CompareResult, out_dir: Path) -> None:
    """The table of arms, and what it means."""
    figure = "macro-F1" if result.metric == "macro_f1" else "accuracy"
    table = _table(f"{result.name}: {figure} in %, 95 % intervals over seeds")
    table.add_column("", overflow="fold")
    for heading in ("lr", "val", "test", "to control"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for arm in result.arms:
        style = "bold green" if arm.label == result.best else None
        table.add_row(*_row(arm), style=style)
    console.print(table)
    if result.teacher is not None:
        test = getattr(result.teacher.test, result.metric)
        console.print(
            f"teacher: {escape(result.teacher.modality)}, test {figure} {100 * test:.1f}", highlight=False
        )
    for sentence in result.summary:
        console.print(f"- {escape(sentence)}", highlight=False)
    _show_path(console, "report", out_dir / "report" / "comparison.md")
    if result.bundle is not None:
        _show_path(console, f"student of {result.best}", out_dir / result.bundle)


def show_search(console: Console, report: AutoReport) -> None:
    """What a job tried before it chose, and why it chose so."""
    table = _table("finalists, in %" if report.select_by != "loss" else "finalists")
    for heading in ("", "lr", "tuned"):
        table.add_column(heading, overflow="fold")
    for heading in ("val", "to control", "test acc"):
        table.add_column(heading, justify="right", no_wrap=True)
    for found in report.finalists:
        tried = next(c for c in report.configurations if c.number == found.number)
        style = "bold green" if found.number == report.winner else None
        tuned = (f"{tried.lr:.3g}", parameters_text(tried.parameters))
        table.add_row(escape(found.label), *tuned, *_final_figures(found, report.select_by), style=style)
    console.print(table)
    trainings = sum(len(c.rungs) for c in report.configurations)
    short = ", as many as the minutes allowed" if report.cut_short else ""
    console.print(
        f"tried {len(report.configurations)} configurations in {trainings} short trainings{short}",
        highlight=False,
    )
    console.print(f"[bold]{escape(report.reason)}[/]", highlight=False)


def _final_figures(found: AutoFinalist, select_by: str) -> list[str]:
    if found.val is None or found.test is None:
        return ["diverged", "", ""]
    scale, digits = (1.0, 3) if select_by == "loss" else (100.0, 1)
    difference = ""
    if found.val_difference is not None and found.val_standard_error is not None:
        error = f"{scale * found.val_standard_error:.{digits}f}"
        difference = f"{scale * found.val_difference:+.{digits}f} ± {error}"
    return [f"{scale * found.val:.{digits}f}", difference, f"{100 * found.test.mean:.1f}"]


def _row(arm: Arm) -> list[str]:
    if arm.error is not None or arm.val is None or arm.test is None:
        return [escape(arm.label), "", "", "", "", "failed"]
    difference = ""
    if arm.difference is not None:
        difference = f"{100 * arm.difference.mean:+.1f}"
        if arm.difference.high > arm.difference.low:
            difference += f" ({100 * arm.difference.low:+.1f} to {100 * arm.difference.high:+.1f})"
    verdict = arm.verdict or ("the control" if arm.label == NO_TEACHER else "")
    means = (f"{100 * arm.val.mean:.1f}", f"{100 * arm.test.mean:.1f}")
    return [escape(arm.label), f"{arm.lr:.3g}", *means, difference, verdict]


def _figures(run: FinalRun) -> list[str]:
    def percent(found: SplitMetrics, name: str) -> str:
        return f"{100 * getattr(found, name):.1f}"

    return [percent(run.val, "accuracy"), percent(run.test, "accuracy"), percent(run.test, "macro_f1")]


def _with_interval(found: Estimate) -> str:
    if found.low == found.high:
        return f"{100 * found.mean:.1f} %"
    return f"{100 * found.mean:.1f} % (95 % interval {100 * found.low:.1f} to {100 * found.high:.1f})"


def _table(title: str) -> Table:
    return Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=escape(title),
        title_justify="left",
        title_style="bold",
    )


def _show_path(console: Console, what: str, path: Path) -> None:
    console.print(f"{what}: [bold]{escape(str(path))}[/]", highlight=False, soft_wrap=True)
