"""What a job with `method: auto` tried, as files: a table for people, one for programs, and a plot."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fdkd_core.atomic_files import write_atomic
from fdkd_core.bundle.card import escape, escape_all
from fdkd_core.count_words import begin, count, duration
from fdkd_core.search_words import difference_heading, finalist_words, tried_words
from fdkd_core.spec.auto_result import AutoConfiguration, AutoFinalist, AutoReport, AutoRung
from fdkd_core.spec.figures import figure
from fdkd_core.spec.measures import MEASURES, Measure
from fdkd_core.spec.result import Estimate
from fdkd_core.spec.tasks import facts_of_figures
from fdkd_core.studies.report import csv_text, make_folder, parameters_text, share_text
from fdkd_core.studies.search_plot import render_search_plot


def write_search(folder: Path, name: str, report: AutoReport) -> None:
    """Writes search.csv, .md, .png and .svg: equal results give equal files.

    Args:
        folder: Made when absent.
        name: Of the job.
        report: What was tried, and what came of it.

    Raises:
        StorageError: The disk is full or failing.
    """
    make_folder(folder)
    write_atomic(folder / "search.csv", search_csv(report).encode())
    write_atomic(folder / "search.md", search_markdown(name, report).encode())
    for kind in ("png", "svg"):
        write_atomic(folder / f"search.{kind}", render_search_plot(name, report, kind))


def search_csv(report: AutoReport) -> str:
    """One row per configuration and rung, then one per finalist; figures are as they were measured."""
    main = _main(report)
    columns = (
        "configuration", "label", "lr", "parameters", "stage", "epochs", f"val_{report.select_by}",
        "val_difference", "val_standard_error", f"test_{main.name}", "outcome", "seconds",
    )  # fmt: skip
    rows: list[list[object]] = []
    for tried in report.configurations:
        for index, rung in enumerate(tried.rungs):
            val = "" if rung.val is None else share_text(figure(rung.val, report.select_by))
            told = (*_known_by(tried), f"rung {index + 1}", rung.epochs, val, "", "", "")
            rows.append([*told, _outcome(report, tried, index), f"{rung.seconds:.1f}"])
    by_number = {tried.number: tried for tried in report.configurations}
    for found in report.finalists:
        epochs = found.runs[0].epochs if found.runs else ""
        seconds = f"{sum(run.seconds for run in found.runs):.1f}" if found.runs else ""
        figures = (
            None if found.val is None else MEASURES[report.select_by].signed(found.val),
            found.val_difference,
            found.val_standard_error,
            None if found.test is None else found.test.mean,
        )
        shown = ("" if value is None else share_text(value) for value in figures)
        outcome = "diverged" if found.val is None else _end(report, found.number)
        told = (*_known_by(by_number[found.number]), "finalist", epochs, *shown)
        rows.append([*told, outcome, seconds])
    return csv_text(columns, rows)


def search_markdown(name: str, report: AutoReport) -> str:
    """Who was handed over and why, the finalists, and how the rungs went, for people."""
    measure, main = MEASURES[report.select_by], _main(report)
    trainings = sum(len(tried.rungs) for tried in report.configurations)
    tried = tried_words(len(report.configurations), trainings, cut_short=report.cut_short)
    lines = [f"# {escape(name)}", "", f"- {escape_all(report.reason)}", f"- Tried: {tried}.", ""]
    lines += ["![validation of every configuration, rung by rung](search.png)", "", "## Finalists", ""]
    folds = max(len(found.folds) for found in report.finalists)
    figures = (f"val {measure.short}", difference_heading(folds), f"test {main.short}", "test to control")
    columns = ["finalist", "lr", "tuned", *figures, "time"]
    lines += _table(columns, "|---|---:|---|---:|---:|---:|---:|---:|", _finalists(report, measure, main))
    seeds = max(len(found.runs) for found in report.finalists)
    time = "The time is that of the trainings with fresh seeds."
    lines += ["", f"{finalist_words(measure, seeds, folds)} {_test_words(main)} {time}"]
    stages = [
        f"rung {index + 1}: {count(epochs, 'epoch')}" for index, epochs in enumerate(rung_lengths(report))
    ]
    lines += ["", "## Rungs", ""]
    columns = ["", "method", "lr", "tuned", *stages, "in the end"]
    alignment = "|---:|---|---:|---|" + "---:|" * len(stages) + "---|"
    lines += _table(columns, alignment, _configurations(report, measure, len(stages)))
    lines += [
        "",
        f"{begin(measure.heading)} on validation, of one short training each. Of the control's and of the "
        "methods' configurations the better half went on; unless `choose: best` was asked for, a method as "
        "stated has the place of its best one where that was ahead by no more than noise.",
    ]
    return "\n".join(lines) + "\n"


def rung_lengths(report: AutoReport) -> list[int]:
    """Epochs of each rung."""
    longest: list[AutoRung] = max((tried.rungs for tried in report.configurations), key=len, default=[])
    return [rung.epochs for rung in longest]


def _finalists(report: AutoReport, measure: Measure, main: Measure) -> Iterable[list[str]]:
    by_number = {tried.number: tried for tried in report.configurations}
    for found in report.finalists:
        tried = by_number[found.number]
        label = escape(found.label)
        yield [
            f"**{label}**" if found.number == report.winner else label,
            f"{tried.lr:.3g}",
            escape(parameters_text(tried.parameters)),
            *_figures(found, measure, main),
        ]


def _figures(found: AutoFinalist, measure: Measure, main: Measure) -> list[str]:
    if found.val is None or found.test is None:
        return ["diverged", "", "", "", ""]
    decided = ""
    if found.val_difference is not None and found.val_standard_error is not None:
        decided = f"{measure.signed_text(found.val_difference)} ± {measure.text(found.val_standard_error)}"
    return [
        # In a report larger is better, also of errors.
        measure.text(measure.signed(found.val)),
        decided,
        f"{main.text(found.test.mean)}{_half(found.test, main)}",
        "" if found.test_difference is None else _signed(found.test_difference, main),
        duration(sum(run.seconds for run in found.runs)),
    ]


def _configurations(report: AutoReport, measure: Measure, rungs: int) -> Iterable[list[str]]:
    """Grouped by method, the control first, as they were tried."""
    labels = list(dict.fromkeys(tried.label for tried in report.configurations))
    for tried in sorted(report.configurations, key=lambda tried: (labels.index(tried.label), tried.number)):
        cells = [
            "diverged" if rung.val is None else measure.text(figure(rung.val, measure.name))
            for rung in tried.rungs
        ]
        last = len(tried.rungs) - 1
        end = f"left behind after rung {last + 1}"
        if _outcome(report, tried, last) == "went on":
            end = "**handed over**" if tried.number == report.winner else "finalist"
        yield [
            # As in the other files and the result.
            str(tried.number),
            escape(tried.label),
            f"{tried.lr:.3g}",
            escape(parameters_text(tried.parameters)),
            *cells,
            *[""] * (rungs - len(cells)),
            end,
        ]


def _outcome(report: AutoReport, tried: AutoConfiguration, rung: int) -> str:
    """What became of a configuration after a rung."""
    if tried.rungs[rung].val is None:
        return "diverged"
    is_finalist = any(found.number == tried.number for found in report.finalists)
    return "went on" if is_finalist or rung < len(tried.rungs) - 1 else "left behind"


def _end(report: AutoReport, number: int) -> str:
    return "handed over" if number == report.winner else "not chosen"


def _known_by(tried: AutoConfiguration) -> tuple[object, ...]:
    return (tried.number, tried.label, f"{tried.lr:g}", parameters_text(tried.parameters))


def _main(report: AutoReport) -> Measure:
    """The figure that the test split is shown in."""
    return facts_of_figures(next((run.test for found in report.finalists for run in found.runs), None)).main


def _test_words(main: Measure) -> str:
    return (
        f"Of the test split, which decided nothing: {main.heading}, ± half of a 95 % interval over seeds, "
        f"and the difference to the control's, paired by seed{main.turned}."
    )


def _signed(found: Estimate, measure: Measure) -> str:
    return f"{measure.signed_text(found.mean)}{_half(found, measure)}"


def _half(found: Estimate, measure: Measure) -> str:
    return f" ± {measure.text(found.high - found.mean)}" if found.high > found.low else ""


def _table(columns: list[str], alignment: str, rows: Iterable[list[str]]) -> list[str]:
    heading, *others = ("| " + " | ".join(cells) + " |" for cells in (columns, *rows))
    return [heading, alignment, *others]
