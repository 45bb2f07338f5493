"""The report of a diagnosis as files: words and tables for people, figures for programs, plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fdkd_core.atomic_files import storage_errors, write_atomic
from fdkd_core.bundle.card import escape
from fdkd_core.diagnosis.plots import render_plots
from fdkd_core.diagnosis.tasks import words_of
from fdkd_core.diagnosis.wording import amount, difference, gain, left_out
from fdkd_core.spec.findings import DiagnosisResult, Findings, NetworkFindings, Spread
from fdkd_core.spec.measures import MEASURES, Measure
from fdkd_core.spec.tasks import TASK_FACTS

COLUMNS = ("section", "figure", "value")
_NAMING = (
    "split",
    "first_split",
    "second_split",
    "part",
    "what",
    "shift",
    "band",
    "view",
    "measure",
    "phase",
)
"""Fields that tell the members of a list apart."""
_MARKS = {"for": "+", "unclear": "?", "against": "−"}
_WHAT = {
    "teacher_from_student": "teacher's sample from student's",
    "label_from_teacher": "label from teacher's sample",
    "label_from_student": "label from student's sample",
}
_VIEWS = {"inputs": "probe on inputs", "features": "probe on features", "network": "the network"}


def write_report(folder: Path, result: DiagnosisResult) -> None:
    """Writes diagnosis.md, findings.csv and the plots: equal results give equal files.

    Raises:
        StorageError: The disk is full or failing.
    """
    with storage_errors():
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "diagnosis.md", diagnosis_markdown(result).encode())
    write_atomic(folder / "findings.csv", findings_csv(result.findings).encode())
    for kind in ("png", "svg"):
        for name, content in render_plots(result.findings, kind).items():
            write_atomic(folder / f"{name}.{kind}", content)


def findings_csv(findings: Findings) -> str:
    """Every figure of the findings in a row of its own: section, name, value."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for section in type(findings).model_fields:
        found = getattr(findings, section)
        if section == "task":
            continue
        for name, value in _figures(found):
            writer.writerow([section, name, value])
    return buffer.getvalue()


def _figures(found: Any, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(found, BaseModel):
        found = {field: getattr(found, field) for field in type(found).model_fields}
    if isinstance(found, dict):
        for key, value in found.items():
            yield from _figures(value, f"{name}.{key}" if name else str(key))
    elif isinstance(found, list | tuple):
        for number, value in enumerate(found):
            yield from _figures(value, f"{name}[{_key(value) or number}]")
    elif isinstance(found, bool):
        yield name, int(found)
    elif isinstance(found, float):
        yield name, f"{found:.6g}"
    elif found is not None:
        yield name, _cell(str(found))


def _key(found: Any) -> str:
    if not isinstance(found, BaseModel):
        return ""
    return " ".join(str(getattr(found, field)) for field in _NAMING if field in type(found).model_fields)


def _cell(text: str) -> str:
    """User text that no spreadsheet takes for a formula."""
    return (
        f"'{text}" if text[:1] in ("=", "+", "-", "@") and len(text) > 1 and not text[1].isdigit() else text
    )


def diagnosis_markdown(result: DiagnosisResult) -> str:
    """The whole report, for people."""
    findings = result.findings
    lines = [f"# {escape(result.name)}: {result.verdict}", ""]
    lines += [f"- `{_MARKS[reason.speaks]}` {reason.text}" for reason in result.reasons]
    lines += ["", "**Next:**", "", *(f"{n}. {step}" for n, step in enumerate(result.advice, start=1))]
    for section in (_rows, _pairing, _alignment, _networks, _similarity, _headroom, _speed):
        lines += ["", *section(findings)]
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    lines += [
        "",
        f"Made in {result.seconds:.0f} s on {result.device}, threads: {result.threads}. {versions}.",
    ]
    return "\n".join(lines) + "\n"


def _rows(findings: Findings) -> Iterable[str]:
    found, measured = findings.sample, TASK_FACTS[findings.task].main.words
    missing = left_out(found)
    return [
        "## What was looked at",
        "",
        f"Networks and probes learned from {found.fit_rows:,} of {found.train_rows:,} training rows. "
        f"{missing}{' ' if missing else ''}"
        f"Similarity was measured over {found.measured_rows:,} rows that nobody learned from "
        f"({found.held_out_rows:,} of training, the others of validation), {measured} over "
        f"{found.val_rows:,} validation rows. Of the test split ({found.test_rows:,} rows) the inputs were "
        "compared with those of the other splits, and nothing else was read.",
    ]


def _pairing(findings: Findings) -> Iterable[str]:
    found, words = findings.pairing, words_of(findings.task)
    yield "## Pairs"
    yield ""
    for part, count in found.blank_rows.items():
        yield f"- rows with a blank {part} sample: {count:,}"
    for part, count in found.contradicting_rows.items():
        yield f"- train and val rows whose {part} sample stands elsewhere {words.contradicting}: {count:,}"
    if found.blank_labels is not None:
        yield f"- train and val rows whose {words.blank}: {found.blank_labels:,}"
    yield ""
    yield from _table(
        ("split", "rows", "pairs repeated", "teacher samples with several students", "most",
         "student samples with several teachers", "most"),
        [
            (part.split, part.rows, part.repeated_pairs,
             f"{part.teacher_samples:,} ({part.teacher_rows:,} rows)", part.most_students,
             f"{part.student_samples:,} ({part.student_rows:,} rows)", part.most_teachers)
            for part in found.repeats
        ],
    )  # fmt: skip
    yield ""
    if not found.leaks:
        yield "No sample stands in two splits, nor a nearly identical one."
        return
    yield from _table(
        ("in both", "what", "equal rows", "nearly identical", "of", "such as"),
        [
            (f"{leak.first_split}, {leak.second_split}", leak.part, leak.equal_rows, leak.near_rows,
             leak.checked_rows, "; ".join(f"{escape(a)} = {escape(b)}" for a, b in leak.examples))
            for leak in found.leaks
        ],
    )  # fmt: skip


def _alignment(findings: Findings) -> Iterable[str]:
    scans = findings.pairing.alignment
    yield "## Are the pairs shifted?"
    yield ""
    yield (
        "R² on held-out rows when one thing is predicted from another, for the pairs as given, for rows "
        "shuffled, and for partners a few rows further in the file."
    )
    yield ""
    yield "![fit by shift](alignment.png)"
    yield ""
    yield from _table(
        ("predicted", "as given", "shuffled", f"within {findings.similarity.stratum or 'label'}",
         "best shift", "its gain"),
        [
            (
                _WHAT[scan.what],
                f"{scan.fit:.3f}",
                _spread(scan.shuffled),
                _spread(scan.shuffled_within_class),
                f"{scan.best_shift:+d}" if scan.best_shift
                else "none fits better" if scan.shifts else "none could be tried",
                max((f"{fit.gain:+.3f} ± {fit.standard_error:.3f}" for fit in scan.shifts
                     if fit.shift == scan.best_shift), default=""),
            )
            for scan in scans
        ],
    )  # fmt: skip


def _networks(findings: Findings) -> Iterable[str]:
    yield "## Networks"
    yield ""
    for found in findings.networks:
        yield f"- {found.part} ({escape(found.modality)}), {found.how}: {found.why}{_levels(found)}"


def _levels(found: NetworkFindings) -> str:
    if not found.figures:
        return ""
    shown = ((MEASURES[name], value) for name, value in found.figures.items())
    return f" Validation: {', '.join(f'{m.words} {m.text(value, unit=True)}' for m, value in shown)}."


def _similarity(findings: Findings) -> Iterable[str]:
    found = findings.similarity
    within = (
        ": no two rows in two are alike in their label, so that there is no null within such"
        if found.stratum is None
        else f"; within {found.stratum}, of {words_of(findings.task).alike}"
    )
    yield "## What they share, by frequency band"
    yield ""
    shares = [
        f"{100 * share:.0f} % lies in the {band} band"
        for band, share in found.band_energy.items()
        if band != "whole"
    ]
    where = (
        ""
        if found.places is None
        else f"Measured at one place of each picture ({found.places:,} with a label), since methods compare "
        "the places of maps, and those of one picture are alike; the student's maps and pictures were "
        "averaged to the size of the teacher's. What usually stands at a place, which any two pictures "
        "share, is taken off. "
    )
    yield (
        f"{where}The teacher's feature ({found.teacher_dim} channels) without its mean over channels, which "
        f"holds {100 * found.mean_energy:.0f} % of its energy and would make any two networks look alike. "
        f"Cutoff {found.cutoff:g}, basis {found.basis}; of the variance {', '.join(shares)}. Nulls are the "
        f"middle 95 % of {found.repeats} shuffles{within}. Neither measure depends on the order of the "
        "student's channels; cosines between two networks that were never aligned do, and are not shown."
    )
    yield ""
    yield "![similarity by band](similarity.png)"
    yield ""
    yield from _table(
        ("band", "student's", "measure", "value", "shuffled", f"within {found.stratum or 'label'}",
         "channel orders", "above"),
        [
            (
                m.band,
                m.view,
                {"r2": "R²", "cka": "CKA"}[m.measure],
                f"{m.value:.3f}",
                _spread(m.shuffled),
                _spread(m.shuffled_within_class),
                _spread(m.other_channel_orders),
                "both nulls" if m.is_above_within_class and m.is_above_shuffled
                else "shuffled" if m.is_above_shuffled else "none",
            )
            for m in found.measures
        ],
    )  # fmt: skip


def _headroom(findings: Findings) -> Iterable[str]:
    found, words = findings.headroom, words_of(findings.task)
    measure, chance = MEASURES[found.metric], TASK_FACTS[findings.task].chance
    yield "## Headroom"
    yield ""
    # The difference of two errors is told in words, as of the teacher's.
    apart = "the gap is" if measure.larger_is_better else "the teacher's is"
    yield (
        f"Teacher {measure.text(found.teacher, unit=True)}, best from the student's modality "
        f"{measure.text(found.student, unit=True)}, chance {measure.text(found.chance, unit=True)} "
        f"({measure.words}); {apart} {difference(measure, found.gap, found.standard_error)} (one standard "
        f"error, over validation rows). Chance is {chance}; probes are {words.probe}."
    )
    yield ""
    yield "![headroom](headroom.png)"
    yield ""
    shown: list[Measure] = [MEASURES[name] for name in found.probes[0].figures] if found.probes else []
    yield from _table(
        ("modality of", "view", *(m.words for m in shown)),
        [
            (p.part, _VIEWS[p.view], *(m.text(p.figures[m.name], unit=True) for m in shown))  # type: ignore[index]
            for p in found.probes
        ],
    )
    yield ""
    could = "There is no gap of which a method could close a share"
    if found.gap > 0.0:
        could = f"A good method may {gain(measure, found.expected_gain)}, a tenth of the gap"
    yield (
        f"{could}; "
        f"{found.test_rows:,} test rows show {amount(measure, found.detectable_gain)} or more with one seed."
    )


def _speed(findings: Findings) -> Iterable[str]:
    found = findings.speed
    yield "## Speed and memory, as measured here"
    yield ""
    yield "![speed](speed.png)"
    yield ""
    yield from _table(
        ("phase", "batch", "steps/s", "ms per batch", "ms per step", "timed steps"),
        [
            (s.phase, s.batch_size, f"{s.steps_per_s:.3g}", f"{1000 * s.batch_s:.2f}",
             f"{1000 * s.step_s:.2f}", s.timed_steps)
            for s in found.steps
        ],
    )  # fmt: skip
    yield ""
    if found.method_overhead is not None:
        yield f"A step with the method takes {found.method_overhead:.2f} times one without."
    yield (
        f"Peak memory of the {found.memory} while training: {found.peak_bytes / 2**20:,.0f} MiB, of which "
        f"{found.growth_bytes / 2**20:,.0f} MiB came with the timed steps."
    )
    parts = ", ".join(f"{part.phase} {part.seconds:.1f} s" for part in found.estimate)
    yield f"A `distill` job with this spec would take about {found.total_s:.0f} s: {parts}."


def _spread(found: Spread | None) -> str:
    return "" if found is None else f"{found.low:.3f} to {found.high:.3f}"


def _table(headings: tuple[str, ...], rows: list[tuple[object, ...]]) -> Iterable[str]:
    yield "| " + " | ".join(headings) + " |"
    yield "|" + "---|" * len(headings)
    for row in rows:
        yield "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) + " |"
