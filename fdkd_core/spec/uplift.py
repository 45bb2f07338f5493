"""What the teacher was worth: student minus control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

from pydantic import Field

from fdkd_core.count_words import count
from fdkd_core.spec.measures import Measure, MetricName
from fdkd_core.spec.strict import StrictModel

MIN_TEACHER_GAP = 0.01
"""Of a gap smaller than a point (0.01), or of figures in units of the data than a hundredth of the control's,
the share closed is a ratio of noise."""


ALL_AGREE = "every test row says the same"
"""Why a gain without spread is no certain one: among few rows, or in a single one, that is luck."""


GroupedBy = Literal["group", "label"]
"""What makes test rows succeed or fail together: the column `group`, or their label."""


class FigureGain(StrictModel):
    """By how much the student is better than its control in one figure; positive is better, always."""

    metric: MetricName
    val: float | None
    """On validation; null where a result does not say."""
    test: float
    standard_error: float | None
    """Of `test`, over the test samples (paired), by group where the data have groups; it does not cover the
    spread over seeds. Null in results of releases that did not measure it."""
    noise: float | None = None
    """Half of the 95 % interval of `test` that goes with it, by Student's t over groups where there are such.
    Null where all test rows are of one group, and in results of earlier releases."""
    groups: int | None = None
    """Of the test rows, how many speakers, patients or whatever `group` names. Without such a column null,
    but of a retrieval how many labels, since queries of one label mostly find, or miss, together."""
    grouped_by: GroupedBy | None = None
    """Which of the two `groups` are. Null where it is, and in results of earlier releases."""
    control: float | None = None
    """The control's own figure on the test split; of classification it stands beside."""


class ChanceLevel(StrictModel):
    """Whether student and control answer the test split better than who looks at no sample."""

    metric: MetricName
    """What picks the weights in the job, or the task's main figure where that is the loss."""
    value: float
    """Of who looks at no sample, on the test split."""
    student: float
    """By how much the student is better; negative where it is worse."""
    student_noise: float | None
    """Half of the 95 % interval of that, as in `FigureGain`."""
    control: float
    """The same of the control."""
    control_noise: float | None
    warning: str
    """For people, where the student is not better beyond that noise; else empty."""


class Uplift(StrictModel):
    """Student minus control: what the teacher's knowledge added. Positive is better."""

    val_accuracy: float
    test_accuracy: float
    test_macro_f1: float
    teacher_gap_closed: float | None
    """Share of the teacher-control gap in test accuracy that the student closed; null when the teacher is
    not ahead of the control by at least one point. Of several teachers, the best on validation counts."""
    standard_error: float
    """Of `test_accuracy`, from the test samples on which the two disagree (paired), by group where the data
    have groups; it does not cover the spread over seeds."""
    macro_f1_standard_error: float | None = None
    """The same of `test_macro_f1`; null in results of releases that did not measure it."""
    noise: float | None = None
    """Half of the 95 % interval of `test_accuracy`; see `FigureGain`."""
    macro_f1_noise: float | None = None
    """The same of `test_macro_f1`."""
    groups: int | None = None
    """See `FigureGain`."""
    grouped_by: GroupedBy | None = None
    """See `FigureGain`."""
    chance: ChanceLevel | None = None
    """Null in results of earlier releases, as in `TaskUplift`."""

    @property
    def gains(self) -> list[FigureGain]:
        """The same by figure, the main one first."""
        return [
            FigureGain(
                metric="accuracy",
                val=self.val_accuracy,
                test=self.test_accuracy,
                standard_error=self.standard_error,
                noise=self.noise,
                groups=self.groups,
                grouped_by=self.grouped_by,
            ),
            FigureGain(
                metric="macro_f1",
                val=None,
                test=self.test_macro_f1,
                standard_error=self.macro_f1_standard_error,
                noise=self.macro_f1_noise,
                groups=self.groups,
                grouped_by=self.grouped_by,
            ),
        ]


class TaskUplift(StrictModel):
    """The same for tasks other than classification, by figure."""

    gains: Annotated[list[FigureGain], Field(min_length=1)]
    """Of all figures of the task, the main one first."""
    teacher_gap_closed: float | None
    """Share of the teacher-control gap in the main figure of the test split that the student closed; null
    when the teacher is not ahead of the control by 0.01, or by a hundredth of a figure in units."""

    chance: ChanceLevel | None = None


AnyUplift = Uplift | TaskUplift


def uplift_of(
    gains: Sequence[FigureGain], teacher_gap_closed: float | None, chance: ChanceLevel | None = None
) -> AnyUplift:
    """The gains of a task as results state them.

    Args:
        gains: Of all its figures, the main one first.
        teacher_gap_closed: See `Uplift`.
        chance: See `Uplift`.
    """
    if gains[0].metric != "accuracy":
        return TaskUplift(gains=list(gains), teacher_gap_closed=teacher_gap_closed, chance=chance)
    accuracy, macro = gains
    assert accuracy.val is not None
    assert accuracy.standard_error is not None
    return Uplift(
        val_accuracy=accuracy.val,
        test_accuracy=accuracy.test,
        test_macro_f1=macro.test,
        teacher_gap_closed=teacher_gap_closed,
        standard_error=accuracy.standard_error,
        macro_f1_standard_error=macro.standard_error,
        noise=accuracy.noise,
        macro_f1_noise=macro.noise,
        groups=accuracy.groups,
        grouped_by=accuracy.grouped_by,
        chance=chance,
    )


class HasNoise(Protocol):
    """What is known of a gain's noise, wherever it was read from."""

    @property
    def standard_error(self) -> float | None:
        """See `FigureGain`, as the others."""

    @property
    def noise(self) -> float | None:
        """Half of the interval."""

    @property
    def groups(self) -> int | None:
        """Of the test rows."""


def half_width_of(gain: HasNoise) -> float | None:
    """Half of a gain's 95 % interval; None where it is not known.

    Results of earlier releases have no `noise`: two standard errors then stand for it.
    """
    if gain.noise is None and gain.groups is None and gain.standard_error is not None:
        return 2.0 * gain.standard_error
    return gain.noise


def groups_words(groups: int, grouped_by: str | None) -> str:
    """Such as `12 groups`, or `1 label` where that is what they are."""
    return count(groups, grouped_by or "group")


def noise_words(
    measure: Measure,
    gain: float,
    half_width: float | None,
    groups: int | None,
    grouped_by: str | None = None,
) -> str:
    """Whether a gain is more than what the test split leaves uncertain.

    Args:
        measure: Of the figure.
        gain: Student minus control.
        half_width: See `FigureGain`.
        groups: See `FigureGain`.
        grouped_by: See `FigureGain`.
    """
    if half_width is None:
        return f"of unknown noise, since all test rows are of one {grouped_by or 'group'} (one seed)"
    if gain == half_width == 0:
        # The student may be the control's, or both may be right throughout: which, is said elsewhere.
        # By another figure they may differ: mAP of rows without any class is 0, whatever is answered.
        return "no test row tells student and control apart by it"
    if half_width == 0:
        return f"of unknown noise, since {ALL_AGREE} (one seed)"
    over = "" if groups is None else f" over its {groups_words(groups, grouped_by)}"
    found = "within" if abs(gain) <= half_width else "more than"
    return f"{found} the noise of this test split (±{measure.text(half_width)}{over}; one seed)"


def chance_warning(
    measure: Measure, blind: str, chance: float, student: float, control: float | None, *, is_control: bool
) -> str:
    """What people are told of a student that does not answer better than who looks at no sample.

    Args:
        measure: Of the figures.
        blind: Who that is; see `TaskFacts.chance`.
        chance: Their figure.
        student: Its own.
        control: That of its control, where it does no better either.
        is_control: Whether the student is the control itself, which a search handed over.
    """
    found, known = measure.text(student, unit=True), measure.text(chance, unit=True)
    than = f"better in {measure.words}, beyond noise, than {blind} ({known})"
    if is_control:
        return f"The student ({found}) is not {than}: it does not know enough to be of use."
    if control is None:
        return f"The student ({found}) is not {than}, as its control is."
    return (
        f"Neither the student ({found}) nor its control ({measure.text(control, unit=True)}) is {than}: "
        "whatever the one gains over the other, they do not know enough to be of use."
    )


def teacher_behind(measure: Measure, teachers: Sequence[float], control: float) -> str:
    """A sentence where no teacher does better on the test split than who has none; else nothing.

    Args:
        measure: Of the figures.
        teachers: Of each teacher; at least one.
        control: The control's.
    """
    best = max(teachers, key=measure.signed)
    if measure.signed(best) >= measure.signed(control):
        return ""
    who = "The teacher does" if len(teachers) == 1 else "All teachers do"
    levels = f"{measure.text(best, unit=True)} against {measure.text(control, unit=True)}, {measure.words}"
    return (
        f"{who} worse on the test split than the control ({levels}): a better one, or a modality that knows "
        "more, has more to teach."
    )


def smallest_gap(measure: Measure, control: float) -> float:
    """The least lead of a teacher of which the student can be said to have closed a share.

    Args:
        measure: Of the figure.
        control: The control's.
    """
    gap = MIN_TEACHER_GAP * abs(control) if measure.form == "number" else MIN_TEACHER_GAP
    return gap * (1.0 - 1e-9)  # 0.30 - 0.29 is less than 0.01, as floats have it
