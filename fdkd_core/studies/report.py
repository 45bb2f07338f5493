"""The report of a comparison or a study as files: tables for people and programs, and a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from fdkd_core.atomic_files import storage_errors, write_atomic
from fdkd_core.bundle.card import escape
from fdkd_core.spec.result import Arm, CompareResult, Estimate, StudyResult, Trial
from fdkd_core.studies.forest_plot import render_forest_plot

COMPARISON_COLUMNS = (
    "direction", "method", "seed", "lr", "weights", "trials",
    "val_metric", "test_metric", "test_macro_f1", "seconds",
)  # fmt: skip
TRIAL_COLUMNS = ("number", "lr", "parameters", "val_accuracy", "val_macro_f1", "val_loss", "seconds")


def write_comparison(folder: Path, result: CompareResult) -> None:
    """Writes comparison.csv, .md, .png and .svg: equal results give equal files.

    Raises:
        StorageError: The disk is full or failing.
    """
    _make(folder)
    write_atomic(folder / "comparison.csv", comparison_csv(result).encode())
    write_atomic(folder / "comparison.md", comparison_markdown(result).encode())
    for kind in ("png", "svg"):
        write_atomic(folder / f"comparison.{kind}", render_forest_plot(result, kind))


def write_trials(folder: Path, result: StudyResult) -> None:
    """Writes trials.csv: one row per trial, empty figures for one that diverged.

    Raises:
        StorageError: The disk is full or failing.
    """
    _make(folder)
    rows = [
        [
            trial.number,
            f"{trial.lr:g}",
            parameters_text(trial.parameters),
            *_trial_figures(trial),
            f"{trial.seconds:.1f}",
        ]
        for trial in result.trials
    ]
    write_atomic(folder / "trials.csv", _csv(TRIAL_COLUMNS, rows).encode())


def comparison_csv(result: CompareResult) -> str:
    """One row per final run; the teacher is a row of its own with seed 0."""
    rows: list[list[object]] = []
    name = _cell(result.name)
    if result.teacher is not None:
        val, test = result.teacher.val, result.teacher.test
        figures = (getattr(val, result.metric), getattr(test, result.metric), test.macro_f1)
        rows.append(
            [
                name,
                "teacher",
                0,
                "",
                "",
                0,
                *map(_share, figures),
                f"{result.teacher.seconds:.1f}",
            ]
        )
    for arm in result.arms:
        for run in arm.runs:
            figures = (getattr(run.val, result.metric), getattr(run.test, result.metric), run.test.macro_f1)
            tuned = (f"{arm.lr:g}", parameters_text(arm.parameters), arm.trials)
            rows.append([name, arm.label, run.seed, *tuned, *map(_share, figures), f"{run.seconds:.1f}"])
    return _csv(COMPARISON_COLUMNS, rows)


def comparison_markdown(result: CompareResult) -> str:
    """The table with what it means, for people."""
    lines = [f"# {escape(result.name)}", ""]
    lines += [f"- {escape(sentence)}" for sentence in result.summary]
    lines += ["", "![differences to the control](comparison.png)", ""]
    columns = ("arm", "lr", "tuned", "val", "test", "to control", "p", "p (Holm)", "gap closed", "verdict")
    lines += ["| " + " | ".join(columns) + " |", "|---|---:|---|---:|---:|---:|---:|---:|---:|---|"]
    lines += ["| " + " | ".join(escape(cell) for cell in _cells(arm)) + " |" for arm in result.arms]
    lines += ["", *_notes(result)]
    return "\n".join(lines) + "\n"


def parameters_text(parameters: dict[str, float | str]) -> str:
    """`temperature=2 weight=0.5`."""
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in sorted(parameters.items())
    )


def _cells(arm: Arm) -> list[str]:
    if arm.error is not None:
        return [arm.label, *[""] * 8, f"failed: {arm.error}"]
    share = arm.teacher_gap_closed
    return [
        arm.label,
        f"{arm.lr:g}",
        parameters_text(arm.parameters),
        _percent(arm.val),
        _percent(arm.test),
        _points(arm.difference),
        _p(arm.p_value),
        _p(arm.p_value_holm),
        "" if share is None else f"{100 * share:.0f} %",
        arm.verdict or "",
    ]


def _notes(result: CompareResult) -> Iterable[str]:
    figure = "macro-F1" if result.metric == "macro_f1" else "accuracy"
    finished = [arm for arm in result.arms if arm.runs]
    if result.teacher is not None:
        test = getattr(result.teacher.test, result.metric)
        yield f"Teacher: {escape(result.teacher.modality)}, test {figure} {100 * test:.1f} %."
    if not finished:
        return
    yield (
        f"Figures are {figure} in %, means over {len(finished[0].runs)} seeds with 95 % intervals of "
        f"Student's t. Every arm was tuned with {finished[0].trials} trials on validation, and trained anew "
        "with the same fresh seeds; differences are paired by seed. p is of the paired t-test, two-sided; "
        "Holm's correction is for the number of methods. The verdict goes by the interval, which does not "
        "cover the choice of the test rows."
    )


def _percent(found: Estimate | None) -> str:
    if found is None:
        return ""
    half = f" ± {100 * (found.high - found.mean):.1f}" if found.high > found.low else ""
    return f"{100 * found.mean:.1f}{half}"


def _points(found: Estimate | None) -> str:
    if found is None:
        return ""
    bounds = f" ({100 * found.low:+.1f} to {100 * found.high:+.1f})" if found.high > found.low else ""
    return f"{100 * found.mean:+.1f}{bounds}"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _trial_figures(trial: Trial) -> list[str]:
    if trial.val is None:
        return ["", "", ""]
    return [_share(figure) for figure in (trial.val.accuracy, trial.val.macro_f1, trial.val.loss)]


def _share(value: float) -> str:
    return f"{value:.4f}"


def _cell(text: str) -> str:
    """User text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue()


def _make(folder: Path) -> None:
    with storage_errors():
        folder.mkdir(parents=True, exist_ok=True)
