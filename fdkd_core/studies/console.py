"""What a terminal of 80 columns shows of a study and of a comparison."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fdkd_core.cost_words import cost_lines
from fdkd_core.count_words import count
from fdkd_core.spec.auto_result import AutoFinalist, AutoReport
from fdkd_core.spec.compare import NO_TEACHER
from fdkd_core.spec.figures import figure
from fdkd_core.spec.measures import MEASURES, Measure
from fdkd_core.spec.pairing_words import goes_without_saying
from fdkd_core.spec.result import Arm, CompareResult, FinalRun, StudyResult
from fdkd_core.spec.tasks import facts_of_figures
from fdkd_core.studies import statistics
from fdkd_core.studies.report import parameters_text, with_interval


def show_study(console: Console, result: StudyResult, out_dir: Path) -> None:
    """The final runs, and what they were tuned to."""
    first, second = facts_of_figures(result.student.test).measures[:2]
    unit = ", in %" if first.form == "share" else ""
    table = _table(f"{result.name}: final runs of {result.method['name']}{unit}")
    headings = (f"val {first.short}", f"test {first.short}", f"test {second.short}")
    for heading in ("seed", *headings, "best epoch", "time"):
        table.add_column(heading, justify="right")
    for run in result.runs:
        table.add_row(
            str(run.seed),
            *_figures(run, first, second),
            f"{run.best_epoch}/{run.epochs}",
            f"{run.seconds:.0f}s",
        )
    console.print(table)
    diverged = sum(trial.val is None for trial in result.trials)
    told = f", of which {diverged} diverged" if diverged else ""
    values = parameters_text({"lr": result.lr, **result.parameters})
    why = f". {result.chosen}" if result.chosen else ""
    tuned = f"tuned in {count(len(result.trials), 'trial')}{told}"
    console.print(f"{tuned}: {escape(values)}{why}", highlight=False)
    expected = statistics.estimate([figure(run.test, first.name) for run in result.runs])
    console.print(f"test {first.words}: [bold]{with_interval(expected, first)}[/]", highlight=False)
    for rows in result.taught:
        if not goes_without_saying(rows):
            console.print(rows.sentence, highlight=False)
    teacher = None if result.teacher is None else result.teacher.latency
    for heading, words in cost_lines(result.student.latency, teacher, result.export):
        console.print(f"{heading}: {words}", highlight=False)
    _show_path(console, "student bundle", out_dir / result.bundle)


def show_comparison(console: Console, result: CompareResult, out_dir: Path) -> None:
    """The table of arms, and what it means."""
    measure = MEASURES[result.metric]
    has_several = any(len(arm.runs) > 1 for arm in result.arms)
    intervals = f"95 % intervals over {result.intervals}" if has_several else "one seed"
    table = _table(f"{result.name}: {measure.heading}, {intervals}")
    table.add_column("", overflow="fold")
    for heading in ("lr", "val", "test", "to control"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for arm in result.arms:
        style = "bold green" if arm.label == result.best else None
        table.add_row(*_row(arm, measure), style=style)
    console.print(table)
    if not measure.larger_is_better:
        console.print(f"differences to the control: test {measure.words}{measure.turned}", highlight=False)
    if result.teacher is not None:
        test = measure.text(figure(result.teacher.test, measure.name))
        console.print(
            f"teacher: {escape(result.teacher.modality)}, test {measure.words} {test}", highlight=False
        )
    for sentence in result.summary:
        console.print(f"- {escape(sentence)}", highlight=False)
    _show_path(console, "report", out_dir / "report" / "comparison.md")
    if result.bundle is not None:
        _show_path(console, f"student of {result.best}", out_dir / result.bundle)


def show_search(console: Console, report: AutoReport) -> None:
    """What a job tried before it chose, and why it chose so."""
    measure = MEASURES[report.select_by]
    main = facts_of_figures(next((run.test for found in report.finalists for run in found.runs), None)).main
    table = _table("finalists, in %" if measure.form == "share" else "finalists")
    for heading in ("", "lr", "tuned"):
        table.add_column(heading, overflow="fold")
    # What decided is not the column before it where it was measured by folds.
    over = "by folds" if any(found.folds for found in report.finalists) else "to control"
    for heading in ("val", over, f"test {main.short}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for found in report.finalists:
        tried = next(c for c in report.configurations if c.number == found.number)
        style = "bold green" if found.number == report.winner else None
        tuned = (f"{tried.lr:.3g}", parameters_text(tried.parameters))
        table.add_row(escape(found.label), *tuned, *_final_figures(found, measure, main), style=style)
    console.print(table)
    trainings = sum(len(c.rungs) for c in report.configurations)
    short = ", fewer than `trials` for the sake of the minutes" if report.cut_short else ""
    console.print(
        f"tried {len(report.configurations)} configurations in {trainings} short trainings{short}",
        highlight=False,
    )
    console.print(f"[bold]{escape(report.reason)}[/]", highlight=False)


def _final_figures(found: AutoFinalist, measure: Measure, main: Measure) -> list[str]:
    if found.val is None or found.test is None:
        return ["diverged", "", ""]
    difference = ""
    if found.val_difference is not None and found.val_standard_error is not None:
        error = measure.text(found.val_standard_error)
        difference = f"{measure.signed_text(found.val_difference)} ± {error}"
    # In a report larger is better, also of errors.
    return [measure.text(measure.signed(found.val)), difference, main.text(found.test.mean)]


def _row(arm: Arm, measure: Measure) -> list[str]:
    if arm.error is not None or arm.val is None or arm.test is None:
        return [escape(arm.label), "", "", "", "", "failed"]
    difference = ""
    if arm.difference is not None:
        difference = measure.signed_text(arm.difference.mean)
        if arm.difference.high > arm.difference.low:
            low, high = measure.signed_text(arm.difference.low), measure.signed_text(arm.difference.high)
            difference += f" ({low} to {high})"
    verdict = arm.verdict or ("the control" if arm.label == NO_TEACHER else "")
    means = (measure.text(arm.val.mean), measure.text(arm.test.mean))
    return [escape(arm.label), f"{arm.lr:.3g}", *means, difference, verdict]


def _figures(run: FinalRun, first: Measure, second: Measure) -> list[str]:
    shown = ((run.val, first), (run.test, first), (run.test, second))
    return [measure.text(figure(found, measure.name)) for found, measure in shown]


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
