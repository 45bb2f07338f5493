"""Rules of the verdict on the task's figures: does the teacher know anything, is it ahead, would a gain show?

All of them rest on the validation rows that were looked at. Where those are too few, of one group, or all of
one label, the figures stay in the report, and no rule says `for` or `against` by them.
"""

from __future__ import annotations

from collections.abc import Iterator

from fdkd_core.count_words import count
from fdkd_core.diagnosis.tasks import words_of
from fdkd_core.diagnosis.wording import amount, difference, gain, level
from fdkd_core.spec.findings import Findings, Reason
from fdkd_core.spec.judging import FEW_ROWS
from fdkd_core.spec.measures import MEASURES
from fdkd_core.spec.methods import MethodSpec

MIN_GAP = 0.02
"""By which the teacher must be ahead: a tenth of less than this is below what any test split shows. Of a
figure with a unit, as a share of the student's."""
CLEAR_ERRORS = 2.0
"""Standard errors that a difference must be worth to count as seen."""

Said = Iterator[tuple[Reason, str]]
"""A reason, and what to do about it (nothing when empty)."""


def teacher_rule(findings: Findings, method: MethodSpec) -> Said:
    """Whether it knows anything."""
    teacher, found = findings.networks[0], findings.headroom
    measure, words = MEASURES[found.metric], words_of(findings.task)
    known = (
        f"{level(measure, found.teacher)} on {count(findings.sample.val_rows, 'validation row')}, where "
        f"chance is {measure.text(found.chance, unit=True)}"
    )
    noise = CLEAR_ERRORS * (found.teacher_error or 0.0)
    doubt = _doubt(findings)
    if doubt:
        text = f"Whether the teacher {words.knows} is open: {known}, but {doubt}."
        step = "Validate on more rows, of several labels and groups: most of this rests on them."
        yield Reason(rule="teacher", speaks="unclear", text=text), step
    elif measure.signed(found.teacher) <= measure.signed(found.chance) + noise:
        text = f"The teacher {words.knows_nothing}: {known}."
        step = "Find a better teacher: other weights, a larger network, or another modality."
        if teacher.how == "trained":  # on these labels: of a column that was shuffled alone nothing is learnt
            step = "Check that the rows of the teacher's column belong to their labels. Else f" + step[1:]
        yield Reason(rule="teacher", speaks="against", text=text), step
    elif teacher.how == "untrained":
        text = f"The teacher was not trained here. A linear probe on its side reaches {known}."
        step = "Train the teacher as a job of its own (kind `train`), then diagnose with it as a model."
        step = "" if teacher.diverged else step  # it would diverge there too, as the rule on training says
        yield Reason(rule="teacher", speaks="unclear", text=text), step
    else:
        how = "given" if teacher.how == "given" else f"trained here for {teacher.steps} steps"
        text = f"The teacher ({how}) {words.knows}: {known}."
        yield Reason(rule="teacher", speaks="for", text=text), ""


def _doubt(findings: Findings) -> str:
    """Why the validation rows tell little of others, as a clause; empty where they may."""
    found, rows = findings.headroom, findings.sample.val_rows
    if found.is_one_label and rows > 1:
        return "all of these rows have the same label"
    if rows < FEW_ROWS:
        return f"{'so few rows tell' if rows > 1 else 'a single row tells'} little of others"
    return "all of these rows are of one group" if found.groups == 1 else ""


def headroom_rule(findings: Findings, method: MethodSpec) -> Said:
    """Whether it is ahead of what the student's modality gives away by itself."""
    found, sample = findings.headroom, findings.sample
    noise = CLEAR_ERRORS * found.standard_error
    measure = MEASURES[found.metric]
    doubt = _doubt(findings)
    # Rows that all say the same do not tell how others would differ.
    ahead = f"{difference(measure, found.gap, noise)}, two standard errors"
    if noise == 0.0 and found.gap != 0.0:
        ahead = f"{difference(measure, found.gap, None)}, of unknown noise"
    levels = (
        f"it has {level(measure, found.teacher)}, and the student's modality reaches "
        f"{measure.text(found.student, unit=True)} by itself with {sample.fit_rows:,} of "
        f"{count(sample.train_rows, 'training row')} ({ahead})"
    )
    least = MIN_GAP * (abs(found.student) if measure.form == "number" else 1.0)
    if doubt:
        text = f"Whether the teacher is ahead is open: {levels}, but {doubt}."
        yield Reason(rule="headroom", speaks="unclear", text=text), ""  # the teacher's rule says what to do
    elif found.gap <= 0.0:
        knows = "less than" if found.gap < -noise else "no more than"
        text = (
            f"The teacher is not ahead: {levels}. A teacher that knows {knows} its student has little to add "
            "but noise."
        )
        step = "Turn the direction round, or use a stronger teacher."
        behind = _untrained_lead(findings)
        if behind:
            text += behind
            step = "Train the teacher for longer, or take another network for it, before anything else."
        yield Reason(rule="headroom", speaks="against", text=text), step
    elif found.gap < least or found.gap <= noise:
        text = f"The teacher is not clearly ahead: {levels}."
        step = "Use a stronger teacher, or more validation rows to be sure that it is one."
        yield Reason(rule="headroom", speaks="unclear", text=text), step
    else:
        yield Reason(rule="headroom", speaks="for", text=f"The teacher is ahead: {levels}."), ""


def _untrained_lead(findings: Findings) -> str:
    """That a probe of the teacher's modality is clearly ahead of the network that was trained here; or ""."""
    found, network = findings.headroom, findings.networks[0]
    measure = MEASURES[found.metric]
    reached = {p.view: p.figures[found.metric] for p in found.probes if p.part == "teacher"}
    reached.pop("network", None)
    if network.how != "trained" or not reached:
        return ""
    view = max(reached, key=lambda name: measure.signed(reached[name]))
    ahead = measure.signed(reached[view]) - measure.signed(found.teacher)
    least = MIN_GAP * (abs(found.teacher) if measure.form == "number" else 1.0)
    if ahead <= max(least, CLEAR_ERRORS * (found.teacher_error or 0.0)):
        return ""
    return (
        f" But a linear probe on its {view} reaches {measure.text(reached[view], unit=True)}: its network, "
        f"trained here for {network.steps} steps, falls short of its modality."
    )


def power_rule(findings: Findings, method: MethodSpec) -> Said:
    """Whether the test split is large enough for a tenth of the gap."""
    found = findings.headroom
    if found.gap <= 0.0:
        return
    measure = MEASURES[found.metric]
    shows = "shows" if found.test_rows == 1 else "show"
    text = (
        f"a good method may {gain(measure, found.expected_gain)} (a tenth of the gap), and "
        f"{count(found.test_rows, 'test row')} {shows} {amount(measure, found.detectable_gain)} or more with "
        "one seed"
    )
    if found.expected_gain < found.detectable_gain:
        text = f"The test split is too small to see the gain: {text}."
        step = "Plan `compare` with several seeds, or test on more rows: one run will not tell."
        yield Reason(rule="power", speaks="unclear", text=text), step
    elif not _doubt(findings):  # else nobody knows the gap of which it is a tenth
        yield Reason(rule="power", speaks="for", text=f"The test split can show the gain: {text}."), ""
