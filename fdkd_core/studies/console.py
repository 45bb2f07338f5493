"""What a terminal of 80 columns shows of a study and of a comparison."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fdkd_core.cost_words import cost_lines
from fdkd_core.count_words import count, duration
from fdkd_core.search_words import difference_heading, tried_words
from fdkd_core.spec.auto_result import AutoFinalist, AutoReport
from fdkd_core.spec.compare import NO_TEACHER
from fdkd_core.spec.figures import figure
from fdkd_core.spec.measures import MEASURES, Measure
from fdkd_core.spec.pairing_words import goes_without_saying
from fdkd_core.spec.result import CANCELLED, Arm, CompareResult, FinalRun, StudyResult
from fdkd_core.spec.row_blocks import SEEDS
from fdkd_core.spec.tasks import facts_of_figures
from fdkd_core.studies import statistics
from fdkd_core.studies.report import p_text, parameters_text, with_interval


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
            duration(run.seconds),
        )
    console.print(table)
    diverged = sum(trial.val is None for trial in result.trials)
    told = f", of which {diverged} diverged" if diverged else ""
    values = parameters_text({"lr": result.lr, **result.parameters})
    why = f". {result.chosen}" if result.chosen else ""
    tuned = f"tuned in {count(len(result.trials), 'trial')}{told}"
    console.print(f"{tuned}: {escape(values)}{why}", highlight=False)
    main = first if result.metric is None else MEASURES[result.metric]
    console.print(f"test {main.words}: [bold]{_expected(result, main)}[/]", highlight=False)
    for rows in result.taught:
        if not goes_without_saying(rows):
            console.print(rows.sentence, highlight=False)
    teacher = None if result.teacher is None else result.teacher.latency
    for heading, words in cost_lines(result.student.latency, teacher, result.export):
        console.print(f"{heading}: {words}", highlight=False)
    _show_path(console, "student bundle", out_dir / result.bundle)


def _expected(result: StudyResult, main: Measure) -> str:
    """What another training like the final runs will come to."""
    if result.test is None:  # of an earlier release
        values = [figure(run.test, main.name) for run in result.runs]
        return with_interval(statistics.estimate(values), main, SEEDS)
    return with_interval(result.test, main, result.intervals)


def show_comparison(console: Console, result: CompareResult, out_dir: Path) -> None:
    """The table of arms, and what it means."""
    measure = MEASURES[result.metric]
    has_several = any(len(arm.runs) > 1 for arm in result.arms)
    intervals = f"95 % intervals over {result.intervals}" if has_several else "one seed"
    table = _table(f"{result.name}: {measure.heading}, {intervals}")
    table.add_column("", overflow="fold")
    # Figures in a unit of the data take the room that the gap would need.
    has_gap = measure.form != "number" and any(arm.teacher_gap_closed is not None for arm in result.arms)
    for heading in ("lr", "val", "test", "to control", "p", *(["gap"] if has_gap else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("time", justify="right", no_wrap=True)
    for arm in result.arms:
        style = "bold green" if arm.label == result.best else None
        table.add_row(*_row(arm, measure, has_gap=has_gap), style=style)
    console.print(table)
    console.print(_legend(result, has_gap=has_gap), style="dim", highlight=False)
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


def show_search(console: Console, report: AutoReport, out_dir: Path) -> None:
    """What a job tried before it chose, and why it chose so."""
    measure = MEASURES[report.select_by]
    main = facts_of_figures(next((run.test for found in report.finalists for run in found.runs), None)).main
    table = _table("finalists, in %" if measure.form == "share" else "finalists")
    for heading in ("", "lr", "tuned"):
        table.add_column(heading, overflow="fold")
    folds = max((len(found.folds) for found in report.finalists), default=0)
    for heading in ("val", difference_heading(folds), f"test {main.short}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for found in report.finalists:
        tuned = next(c for c in report.configurations if c.number == found.number)
        style = "bold green" if found.number == report.winner else None
        cells = (f"{tuned.lr:.3g}", parameters_text(tuned.parameters))
        table.add_row(escape(found.label), *cells, *_final_figures(found, measure, main), style=style)
    console.print(table)
    trainings = sum(len(c.rungs) for c in report.configurations)
    tried = tried_words(len(report.configurations), trainings, cut_short=report.cut_short)
    console.print(f"tried {tried}", highlight=False)
    console.print(f"[bold]{escape(report.reason)}[/]", highlight=False)
    path = out_dir / "report" / "search.md"
    if path.exists():  # not in folders of earlier releases
        _show_path(console, "report", path)


def _final_figures(found: AutoFinalist, measure: Measure, main: Measure) -> list[str]:
    if found.val is None or found.test is None:
        return ["diverged", "", ""]
    difference = ""
    if found.val_difference is not None and found.val_standard_error is not None:
        error = measure.text(found.val_standard_error)
        difference = f"{measure.signed_text(found.val_difference)} ± {error}"
    # In a report larger is better, also of errors.
    return [measure.text(measure.signed(found.val)), difference, main.text(found.test.mean)]


def _legend(result: CompareResult, *, has_gap: bool) -> str:
    """What the columns beside the figures are."""
    is_adjusted = any(arm.p_value_holm is not None for arm in result.arms)
    told = ["p: of methods adjusted for their number (Holm)"] if is_adjusted else []
    told += ["gap: share of the way from the control to the teacher"] if has_gap else []
    return "; ".join([*told, "time: of all trainings of an arm"])


def _row(arm: Arm, measure: Measure, *, has_gap: bool) -> list[str]:
    if arm.error is not None or arm.val is None or arm.test is None:
        ended = CANCELLED if arm.error == CANCELLED else "failed"
        return [escape(arm.label), *[""] * (6 if has_gap else 5), ended, ""]
    difference = ""
    if arm.difference is not None:
        difference = measure.signed_text(arm.difference.mean)
        if arm.difference.high > arm.difference.low:
            difference += f" ±{measure.text((arm.difference.high - arm.difference.low) / 2)}"
    verdict = arm.verdict or ("the control" if arm.label == NO_TEACHER else "")
    means = (measure.text(arm.val.mean), measure.text(arm.test.mean))
    p_value = arm.p_value if arm.p_value_holm is None else arm.p_value_holm
    share = arm.teacher_gap_closed
    return [
        escape(arm.label),
        f"{arm.lr:.3g}",
        *means,
        difference,
        p_text(p_value),
        *(["" if share is None else f"{100 * share:.0f}%"] if has_gap else []),
        verdict,
        duration(arm.seconds),
    ]


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
