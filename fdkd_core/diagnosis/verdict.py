"""From findings to a verdict, by stated rules.

Each rule says `for`, `unclear` or `against`, and why. The verdict is the worst of them: one reason against a
transfer is enough for `unpromising`, one that is unclear for `uncertain`. The rules are deliberately hard to
please: a needless warning costs a look at the report, a missing one costs a study.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from fdkd_core.diagnosis.alignment import MIN_NEIGHBOURS
from fdkd_core.diagnosis.headroom_rules import Said, headroom_rule, power_rule, teacher_rule
from fdkd_core.diagnosis.similarity import MIN_EXCESS
from fdkd_core.diagnosis.tasks import words_of
from fdkd_core.spec.findings import (
    AlignmentFindings,
    Findings,
    Part,
    Reason,
    Similarity,
    Spread,
)
from fdkd_core.spec.methods import MethodSpec, fd_cmkd_of, uses_features

Verdict = Literal["promising", "uncertain", "unpromising"]

MAX_LEAK_FRAC = 0.01
"""Of the rows of validation or test: a hundredth can move a figure by a point, as much as methods differ."""
MAX_BLANK_FRAC = 0.02
"""Of all rows: placeholders teach the student to imitate the teacher's view of nothing."""
MAX_CONTRADICTING_FRAC = 0.01
"""Of all rows: the same sample with two labels is a mistake in one of them."""
MAX_REPEATED_FRAC = 0.1
"""Of the pairs of a split: with more, it is smaller than its number of rows says, and so is what noise is."""
MAX_UNPAIRED_FRAC = 0.5
"""Of the training rows: with more, the label alone teaches most of them."""
MAX_SHARED_FRAC = 0.1
"""Of the training rows: more rows whose student sample has several teacher samples are worth a remark."""
MIN_R2 = 0.05
"""Of the whole feature: with less, even a perfect student of the shared part learns next to nothing of it."""
MIN_MEASURED = 100
"""Rows: with fewer, the nulls are so wide that only the obvious stands out."""
MORE_MAY_BE_SHARED = "More may be shared than so few rows can show."

_ORDER = {"against": 0, "unclear": 1, "for": 2}
_VERDICTS: dict[str, Verdict] = {"against": "unpromising", "unclear": "uncertain", "for": "promising"}


def judge(findings: Findings, method: MethodSpec) -> tuple[Verdict, list[Reason], list[str]]:
    """The verdict, what each rule said (the worst first), and what to do next (the most urgent first).

    Args:
        findings: Of all sections.
        method: What the job would run; some rules concern only methods that pair instances.
    """
    rules = (
        _pairing,
        _alignment,
        _training,
        _sample,
        teacher_rule,
        headroom_rule,
        _similarity,
        _bands,
        power_rule,
    )
    said = [found for rule in rules for found in rule(findings, method)]
    said.sort(key=lambda found: _ORDER[found[0].speaks])
    reasons = [reason for reason, _ in said]
    advice = [step for _, step in said if step]
    if not advice:
        advice.append("Run the job with its control, or `compare` for more than one method.")
    return _VERDICTS[reasons[0].speaks], reasons, advice


_RATES = ("teacher.train.optimizer.lr", "training.optimizer.lr")
"""Of the networks, in the order of `Findings.networks`."""
_Speaks = Literal["for", "unclear", "against"]


def _pairing(findings: Findings, method: MethodSpec) -> Said:
    faults = [*_faulty_samples(findings), *_faulty_rows(findings), *_leaks(findings)]
    for text, step in faults:
        yield Reason(rule="pairing", speaks="unclear", text=text), step
    if not faults:
        text = "No faults were found in the pairs as such."
        train = findings.pairing.repeats[0]
        if train.student_rows > MAX_SHARED_FRAC * train.rows:
            text += (
                f" But one student sample is paired with up to {train.most_teachers} different teacher "
                f"samples ({train.student_rows:,} of {train.rows:,} training rows): only what these have in "
                "common can be learned."
            )
        yield Reason(rule="pairing", speaks="for", text=text), ""


def _faulty_samples(findings: Findings) -> Iterator[tuple[str, str]]:
    found, words = findings.pairing, words_of(findings.task)
    pairs = sum(split.rows for split in found.repeats)
    rows: dict[Part, int] = {"teacher": pairs, "student": pairs + findings.sample.unpaired_rows}
    for part, count in found.blank_rows.items():
        if count > MAX_BLANK_FRAC * rows[part]:
            yield (
                f"{count:,} of {rows[part]:,} rows have a blank {part} sample, one constant value: something "
                "is missing there.",
                f"Drop the rows whose {part} sample is blank, or find what is missing.",
            )
    for part, count in found.contradicting_rows.items():
        if count > MAX_CONTRADICTING_FRAC * rows[part]:
            yield (
                f"{count:,} rows hold a {part} sample that stands in another row {words.contradicting}: "
                f"{words.contradiction}.",
                f"Look at the labels of equal {part} samples.",
            )


def _faulty_rows(findings: Findings) -> Iterator[tuple[str, str]]:
    for split in findings.pairing.repeats:
        if split.repeated_pairs > MAX_REPEATED_FRAC * split.rows:
            yield (
                f"{split.repeated_pairs:,} of {split.rows:,} {split.split} pairs stand in an earlier row "
                "already: that split is smaller than it looks, and its figures are less certain.",
                f"Drop the repeated rows of {split.split}, or find out how they came there.",
            )
    sample = findings.sample
    if sample.unpaired_rows > MAX_UNPAIRED_FRAC * sample.train_rows:
        yield (
            f"{sample.unpaired_rows:,} of {sample.train_rows:,} training rows lack the teacher's sample: the "
            "teacher is silent about most of what the student learns from.",
            "Find the missing samples. Where there are none, `pairing: class` lets a teacher's class means "
            "teach those rows too."
            if findings.task == "classification"
            else "Find the missing samples.",
        )


def _leaks(findings: Findings) -> Iterator[tuple[str, str]]:
    for leak in findings.pairing.leaks:
        count = leak.equal_rows + leak.near_rows
        # A teacher's sample alone is no help to a student that is tested without it.
        if leak.part == "student" and count > MAX_LEAK_FRAC * leak.checked_rows:
            yield (
                f"{count:,} of {leak.checked_rows:,} {leak.second_split} rows have a student sample that is "
                f"also in {leak.first_split} ({leak.equal_rows:,} equal, {leak.near_rows:,} nearly): figures "
                f"on {leak.second_split} will flatter every student, the control too.",
                f"Keep equal samples on one side of {leak.first_split} and {leak.second_split}.",
            )


def _alignment(findings: Findings, method: MethodSpec) -> Said:
    scans = findings.pairing.alignment
    if not any(scan.shifts for scan in scans):
        text = (
            "Whether the pairs are shifted could not be tested: too few of the rows that were held out have "
            f"a neighbour in the file that was held out too ({MIN_NEIGHBOURS} are needed)."
        )
        step = "Look at some pairs by hand, or gather more of them: nothing here says that they line up."
        yield Reason(rule="alignment", speaks="unclear", text=text), step
        return
    moved = {scan.what: scan for scan in scans if scan.best_shift}
    if not moved:
        text = "No shift of the rows fits better than the pairs as they are given."
        yield Reason(rule="alignment", speaks="for", text=text), ""
        return
    pairs = moved.get("teacher_from_student")
    text = (
        f"The pairs look shifted: {_shifted(pairs, 'teacher', 'student')}."
        if pairs is not None
        else "Pairs fit each other as given, but not their labels."
    )
    blamed = []
    for part, what in (("teacher", "label_from_teacher"), ("student", "label_from_student")):
        if what in moved:
            blamed.append(part)
            text += f" The {part}'s column does not fit its labels: {_shifted(moved[what], 'label', part)}."
    where = f"the {blamed[0]}'s column" if len(blamed) == 1 else "how the columns were put side by side"
    yield (
        Reason(rule="alignment", speaks="against", text=text),
        f"Mend the pairing before anything else: check {where} for a lost or an extra row.",
    )


def _shifted(scan: AlignmentFindings, first: str, second: str) -> str:
    best = next(fit for fit in scan.shifts if fit.shift == scan.best_shift)
    return (
        f"{first} row i fits {second} row i{best.shift:+d} (R² {best.fit:.2f}) better than row i "
        f"(R² {best.fit - best.gain:.2f})"
    )


def _training(findings: Findings, method: MethodSpec) -> Said:
    """Whether what the job would train can be trained as it is stated."""
    for network, rate in zip(findings.networks, _RATES, strict=True):
        if network.diverged:
            text = f"The {network.part}'s training diverged here, and would in the job: {network.why}"
            yield (
                Reason(rule="training", speaks="against", text=text),
                f"Lower `{rate}`, then diagnose again.",
            )


def _sample(findings: Findings, method: MethodSpec) -> Said:
    if findings.sample.measured_rows < MIN_MEASURED:
        text = f"Similarity was measured over {findings.sample.measured_rows} rows only: its nulls are wide."
        yield Reason(rule="sample", speaks="unclear", text=text), "Gather more pairs, or take this as a hint."


def _similarity(findings: Findings, method: MethodSpec) -> Said:
    whole = [m for m in findings.similarity.measures if m.band == "whole"]
    best = max((m for m in whole if m.measure == "r2"), key=lambda m: m.value)
    beyond = [m for m in whole if m.is_above_within_class]
    shared, stratum = words_of(findings.task).shared, findings.similarity.stratum
    has_classes = findings.task == "classification"
    is_initial = findings.networks[1].how == "untrained"
    seen, is_hint = _predicted(best, is_initial), findings.sample.measured_rows < MIN_MEASURED
    speaks: _Speaks = "unclear"
    if not any(m.is_above_shuffled for m in whole):
        text = f"Teacher and student share nothing that was found: at best {seen}. " + (
            MORE_MAY_BE_SHARED
            if is_hint
            else "A method that pairs their features sample by sample has nothing to align."
        )
        others = "a class-wise method, or logits (logit_kd)" if has_classes else "answers (logit_kd)"
        step = f"Check that the pairs belong together; else try {others}."
        speaks = "against" if uses_features(method) and not is_hint else "unclear"
    elif stratum is not None and not beyond:
        text = (
            f"Pairs share their {shared} and no more: {seen}, and pairs shuffled within a {stratum} do as "
            "well. "
        ) + (MORE_MAY_BE_SHARED if is_hint else "What is special about a pair cannot be transferred.")
        step = f"Prefer {_without_pairs(has_classes)} to methods that pair single samples."
    elif best.value < MIN_R2:
        text = f"Teacher and student share little: at best {seen}."
        step = "Expect small gains from methods on features; compare them with logit_kd."
    elif stratum is None:
        text, step, speaks = f"Pairs share something: {seen}.", "", "for"
    elif predicted := [m for m in beyond if m.measure == "r2"]:
        # What is quoted is what says so: another view may be predicted better, by the class alone.
        best = max(predicted, key=lambda m: m.value)
        text, step, speaks = (
            f"Pairs share more than their {shared}: {_predicted(best, is_initial, stratum)}.",
            "",
            "for",
        )
    else:
        # CKA alone: one of several chances to be above by luck, and the measure that rows tell less about.
        text = (
            f"Whether pairs share more than their {shared} is open: {_predicted(best, is_initial, stratum)}. "
            f"By R² pairs shuffled within a {stratum} do as well; only CKA is higher for the pairs as given."
        )
        step = f"Compare methods that pair single samples with {_without_pairs(has_classes)}."
    yield Reason(rule="similarity", speaks=speaks, text=text), step


def _predicted(found: Similarity, is_initial: bool, stratum: str | None = None) -> str:
    """How much of the feature the student's side predicts, beside its nulls."""
    view = "features at its initial weights" if is_initial and found.view == "features" else found.view
    within = found.shuffled_within_class
    beside = "" if stratum is None or within is None else f"; within a {stratum}: {_range(within)}"
    return (
        f"{_percent(max(found.value, 0.0))} of the teacher's feature can be predicted from the student's "
        f"{view} (shuffled pairs: {_range(found.shuffled)}{beside})"
    )


def _without_pairs(has_classes: bool) -> str:
    return "logits (logit_kd) or class-wise targets" if has_classes else "answers (logit_kd)"


def _bands(findings: Findings, method: MethodSpec) -> Said:
    banded = fd_cmkd_of(method)
    if banded is None or not banded.split:
        return
    measures = [m for m in findings.similarity.measures if m.measure == "r2"]
    low, high = ([m for m in measures if m.band == band] for band in ("low", "high"))
    if not any(m.is_above_shuffled for m in low):
        if any(m.is_above_shuffled for m in high):
            text = "Only the high band, which FD-CMKD aligns loosely, is shared; the low one is not."
            step = "Compare FD-CMKD with `split: false`, and with other cutoffs."
            yield Reason(rule="bands", speaks="unclear", text=text), step
        return
    best = max(low, key=lambda m: m.value)
    if best.value < MIN_R2:
        text = f"The low band, which FD-CMKD aligns, shares little: {_percent(best.value)}."
        yield Reason(rule="bands", speaks="unclear", text=text), ""  # what to do is said of the whole feature
        return
    orders = best.other_channel_orders
    text = f"The low band, which FD-CMKD aligns, is shared: {_percent(best.value)}."
    if orders is None:
        yield Reason(rule="bands", speaks="for", text=text), ""
        return
    text += (
        " With the teacher's channels in other orders, low bands share "
        f"{_percent(orders.low)} to {_percent(orders.high)}"
    )
    if best.value > orders.high + MIN_EXCESS:
        yield Reason(rule="bands", speaks="for", text=f"{text}: this order has a meaning."), ""
    else:
        text += ": as much, so that the split itself promises nothing."
        yield Reason(rule="bands", speaks="for", text=text), "Compare FD-CMKD with `split: false` too."


def _range(null: Spread) -> str:
    return f"{100 * null.low:.1f} to {100 * null.high:.1f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
