"""The report of a comparison or a study as files: tables for people and programs, and a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from fdkd_core.atomic_files import storage_errors, write_atomic
from fdkd_core.bundle.card import escape
from fdkd_core.count_words import count, duration
from fdkd_core.spec.figures import figure
from fdkd_core.spec.measures import MEASURES, Measure
from fdkd_core.spec.result import CANCELLED, Arm, CompareResult, Estimate, StudyResult, Trial
from fdkd_core.spec.row_blocks import SEEDS
from fdkd_core.spec.tasks import TaskFacts, facts_of_figures
from fdkd_core.studies.forest_plot import render_forest_plot

COMPARISON_COLUMNS = (
    "direction", "method", "seed", "lr", "weights", "trials", "val_metric", "test_metric",
)  # fmt: skip
"""Then the second figure of the task, such as `test_macro_f1`, and `seconds`."""
_COLUMNS = (
    "arm", "lr", "tuned", "val", "test", "to control", "p", "p (Holm)", "gap closed", "verdict", "time",
)  # fmt: skip


def write_comparison(folder: Path, result: CompareResult) -> None:
    """Writes comparison.csv, .md, .png and .svg: equal results give equal files.

    Raises:
        StorageError: The disk is full or failing.
    """
    make_folder(folder)
    write_atomic(folder / "comparison.csv", comparison_csv(result).encode())
    write_atomic(folder / "comparison.md", comparison_markdown(result).encode())
    for kind in ("png", "svg"):
        write_atomic(folder / f"comparison.{kind}", render_forest_plot(result, kind))


def write_trials(folder: Path, result: StudyResult) -> None:
    """Writes trials.csv: one row per trial, empty figures for one that diverged.

    Raises:
        StorageError: The disk is full or failing.
    """
    make_folder(folder)
    names = [*facts_of_figures(result.student.val).metrics, "loss"]
    rows = [
        [
            trial.number,
            f"{trial.lr:g}",
            parameters_text(trial.parameters),
            *_trial_figures(trial, names),
            f"{trial.seconds:.1f}",
        ]
        for trial in result.trials
    ]
    columns = ("number", "lr", "parameters", *(f"val_{name}" for name in names), "seconds")
    write_atomic(folder / "trials.csv", csv_text(columns, rows).encode())


def comparison_csv(result: CompareResult) -> str:
    """One row per final run; the teacher is a row of its own with seed 0."""
    rows: list[list[object]] = []
    name = _cell(result.name)
    second = _facts(result).metrics[1]
    if result.teacher is not None:
        val, test = result.teacher.val, result.teacher.test
        figures = (figure(val, result.metric), figure(test, result.metric), figure(test, second))
        rows.append(
            [
                name,
                "teacher",
                0,
                "",
                "",
                0,
                *map(share_text, figures),
                f"{result.teacher.seconds:.1f}",
            ]
        )
    for arm in result.arms:
        for run in arm.runs:
            val, test = run.val, run.test
            figures = (figure(val, result.metric), figure(test, result.metric), figure(test, second))
            tuned = (f"{arm.lr:g}", parameters_text(arm.parameters), arm.trials)
            rows.append([name, arm.label, run.seed, *tuned, *map(share_text, figures), f"{run.seconds:.1f}"])
    return csv_text((*COMPARISON_COLUMNS, f"test_{second}", "seconds"), rows)


def comparison_markdown(result: CompareResult) -> str:
    """The table with what it means, for people."""
    measure = MEASURES[result.metric]
    lines = [f"# {escape(result.name)}", ""]
    lines += [f"- {escape(sentence)}" for sentence in result.summary]
    lines += ["", "![differences to the control](comparison.png)", ""]
    lines += ["| " + " | ".join(_COLUMNS) + " |", "|---|---:|---|---:|---:|---:|---:|---:|---:|---|---:|"]
    lines += ["| " + " | ".join(escape(cell) for cell in _cells(arm, measure)) + " |" for arm in result.arms]
    lines += ["", *_notes(result)]
    chosen = [f"- {escape(arm.label)}: {escape(arm.chosen)}" for arm in result.arms if arm.chosen]
    lines += ["", "Which trial each arm took:", "", *chosen] if chosen else []
    return "\n".join(lines) + "\n"


def parameters_text(parameters: dict[str, float | str]) -> str:
    """`temperature=2 weight=0.5`."""
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in sorted(parameters.items())
    )


def with_interval(found: Estimate, measure: Measure, over: str = "") -> str:
    """A mean with its unit and interval, and what that is over."""
    mean = measure.text(found.mean, unit=True)
    if found.low == found.high:
        return mean
    low, high = (measure.text(measure.possible(bound)) for bound in (found.low, found.high))
    return f"{mean} (95 % interval {low} to {high}{f' over {over}' if over else ''})"


def p_text(value: float | None) -> str:
    """A p-value in a cell; nothing where there is none."""
    if value is None:
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _facts(result: CompareResult) -> TaskFacts:
    """Of the task, as any of the figures tells."""
    runs = [run for arm in result.arms for run in arm.runs]
    found = result.teacher.test if result.teacher is not None else runs[0].test if runs else None
    return facts_of_figures(found)


def _cells(arm: Arm, measure: Measure) -> list[str]:
    if arm.error is not None:
        return [arm.label, *[""] * 8, arm.error if arm.error == CANCELLED else f"failed: {arm.error}", ""]
    share = arm.teacher_gap_closed
    return [
        arm.label,
        f"{arm.lr:g}",
        parameters_text(arm.parameters),
        _mean(arm.val, measure),
        _mean(arm.test, measure),
        _difference(arm.difference, measure),
        p_text(arm.p_value),
        p_text(arm.p_value_holm),
        "" if share is None else f"{100 * share:.0f} %",
        arm.verdict or "",
        duration(arm.seconds),
    ]


def _notes(result: CompareResult) -> Iterable[str]:
    measure = MEASURES[result.metric]
    finished = [arm for arm in result.arms if arm.runs]
    if result.teacher is not None:
        test = measure.text(figure(result.teacher.test, measure.name), unit=True)
        yield f"Teacher: {escape(result.teacher.modality)}, test {measure.words} {test}."
    if not finished:
        return
    turned = "" if measure.larger_is_better else " and turned so that more is better"
    trials = count(finished[0].trials, "trial")
    if len(finished[0].runs) == 1:
        yield (
            f"Figures are {measure.heading}, of one seed, so that there are no intervals and no tests. Every "
            f"arm was tuned with {trials} on validation, and trained anew with the same fresh seed, by "
            f"which differences are paired{turned}."
        )
    else:
        yield (
            f"Figures are {measure.heading}, means over {len(finished[0].runs)} seeds with 95 % intervals of "
            f"Student's t. Every arm was tuned with {trials} on validation, and trained anew with the same "
            f"fresh seeds; differences are paired by seed{turned}. {_over(result.intervals)} "
            "Holm's correction is for the number of methods. The verdict goes by the interval."
        )
    yield "The time of an arm is that of all its trainings, trials included."
    fakes = sorted({arm.teacher_view for arm in finished if arm.teacher_view != "paired"})
    if fakes:
        yield (
            f"Arms with {escape(' or '.join(fakes))} are controls, hollow in the plot: the same method with "
            "a teacher changed in that way."
        )


def _over(intervals: str) -> str:
    """What intervals of differences are over, and what that makes of p."""
    if intervals == SEEDS:
        return (
            "Their intervals do not cover the choice of the test rows; p is of the paired t-test, two-sided."
        )
    return f"Their intervals are over {intervals}; p is the level at which the interval ends at 0."


def _mean(found: Estimate | None, measure: Measure) -> str:
    if found is None:
        return ""
    half = f" ± {measure.text(found.high - found.mean)}" if found.high > found.low else ""
    return f"{measure.text(found.mean)}{half}"


def _difference(found: Estimate | None, measure: Measure) -> str:
    if found is None:
        return ""
    bounds = ""
    if found.high > found.low:
        bounds = f" ({measure.signed_text(found.low)} to {measure.signed_text(found.high)})"
    return f"{measure.signed_text(found.mean)}{bounds}"


def _trial_figures(trial: Trial, names: Sequence[str]) -> list[str]:
    return ["" if trial.val is None else share_text(figure(trial.val, name)) for name in names]


def share_text(value: float) -> str:
    """A figure as programs read it."""
    return f"{value:.4f}"


def _cell(text: str) -> str:
    """User text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table for programs."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue()


def make_folder(folder: Path) -> None:
    """Makes the folder of a report where there is none.

    Raises:
        StorageError: It cannot be made.
    """
    with storage_errors():
        folder.mkdir(parents=True, exist_ok=True)
