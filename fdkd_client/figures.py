"""What jobs measured, by kind of job: `Job.result`.

Fields that this release does not know are kept (`model_dump` shows them), so that an older client goes on
working with a newer server; the result of a kind that it does not know stays a plain dictionary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fdkd_client.model_figures import Answer, ExportFigures, ModelFigures, SplitFigures
from fdkd_core.spec.row_blocks import SEEDS


class GainFigures(Answer):
    """By how much the student is better than its control in one figure; positive is better, always."""

    metric: str
    val: float | None = None
    test: float
    standard_error: float | None = None
    noise: float | None = None
    """Half of the 95 % interval of `test`; null where all test rows are of one group, or in old results."""
    groups: int | None = None
    """How many groups the test rows are of; null where the data have none."""
    grouped_by: str | None = None
    """What these are: `group`, or of a retrieval `label`; null in old results."""
    control: float | None = None
    """The control's own figure on the test split."""


class ChanceFigures(Answer):
    """Whether student and control answer the test split better than who looks at no sample."""

    metric: str
    value: float
    """Of who looks at no sample."""
    student: float
    """By how much the student is better."""
    student_noise: float | None = None
    """Half of the 95 % interval of that; null where all test rows are of one group."""
    control: float
    control_noise: float | None = None
    warning: str = ""
    """For people, where the student is not better beyond noise."""


class UpliftFigures(Answer):
    """Student minus control: what the teacher's knowledge added."""

    val_accuracy: float | None = None
    """This and the next two of classification; other tasks have `gains`."""
    test_accuracy: float | None = None
    test_macro_f1: float | None = None
    teacher_gap_closed: float | None = None
    standard_error: float | None = None
    """Of `test_accuracy`, over the test samples; not over seeds."""
    macro_f1_standard_error: float | None = None
    noise: float | None = None
    """This, the next and `groups` as in `GainFigures`."""
    macro_f1_noise: float | None = None
    groups: int | None = None
    grouped_by: str | None = None
    gains: list[GainFigures] = Field(default_factory=list)
    """Of all figures of another task, the main one first."""
    chance: ChanceFigures | None = None
    """Null in old results."""

    @property
    def main(self) -> GainFigures:
        """The main figure's gain."""
        if self.gains:
            return self.gains[0]
        return GainFigures(
            metric="accuracy",
            val=self.val_accuracy,
            test=self.test_accuracy or 0.0,
            standard_error=self.standard_error,
            noise=self.noise,
            groups=self.groups,
            grouped_by=self.grouped_by,
        )


class GateFigures(Answer):
    """What became of one gate: what the student had to show against its control."""

    metric: str
    passed: bool
    value: float
    """Student minus control, a fraction."""
    standard_error: float
    threshold: float
    on_fail: str = "warn"
    sentence: str
    """All this for people."""


class TaughtFigures(Answer):
    """How many training rows a teacher spoke about."""

    teacher: str
    pairing: str
    paired_rows: int
    training_rows: int
    unlabelled_rows: int = 0
    untaught_rows: int | None = None


class RunFigures(Answer):
    """What one training measured: `result.json` of the kinds `distill` and `train`."""

    kind: str
    name: str
    spec_sha256: str
    data_sha256: str
    classes: int
    teacher: ModelFigures | None = None
    more_teachers: list[ModelFigures] = Field(default_factory=list)
    student: ModelFigures
    control: ModelFigures | None = None
    uplift: UpliftFigures | None = None
    gates: list[GateFigures] = Field(default_factory=list)
    taught: list[TaughtFigures] = Field(default_factory=list)
    auto: dict[str, Any] | None = None
    """What was tried, of a job that chose its method itself."""
    bundle: str | None = None
    export: ExportFigures | None = None
    teacher_bundle: str | None = None
    more_teacher_bundles: list[str | None] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)
    device: str
    threads: int
    processes: int = 1
    seconds: float


class FinalRunFigures(Answer):
    """One training with tuned parameters and a seed of its own."""

    seed: int
    val: SplitFigures
    test: SplitFigures
    seconds: float
    epochs: int
    best_epoch: int
    execution: dict[str, Any] | None = None


class TrialFigures(Answer):
    """One training of a search."""

    number: int
    lr: float
    parameters: dict[str, Any] = Field(default_factory=dict)
    val: SplitFigures | None = None
    """None when training diverged."""
    seconds: float


class EstimateFigures(Answer):
    """A mean with its 95 % interval; over seeds, where nothing else is said."""

    mean: float
    low: float
    high: float


class StudyFigures(Answer):
    """What the tuning and the final runs of one method measured."""

    kind: str
    name: str
    spec_sha256: str
    data_sha256: str
    classes: int
    method: dict[str, Any]
    """As tuned."""
    lr: float
    parameters: dict[str, Any] = Field(default_factory=dict)
    """The fields of the method that were tuned."""
    chosen: str = ""
    """Why this trial: a sentence."""
    teacher_view: str = "paired"
    select_by: str = "accuracy"
    chance: float | None = None
    """What who looks at no sample has of it on the test split."""
    taught: list[TaughtFigures] = Field(default_factory=list)
    """Of the teacher; empty without one."""
    trials: list[TrialFigures] = Field(default_factory=list)
    runs: list[FinalRunFigures] = Field(default_factory=list)
    test_rows: dict[str, Any] | None = None
    """Sums over blocks of test rows, by which a comparison knows how far others would move a figure."""
    metric: str | None = None
    """The figure of `test`; null in results of earlier releases, as that."""
    test: EstimateFigures | None = None
    """Of the test split, over the final runs."""
    intervals: str = SEEDS
    """What the interval of `test` is over, in words."""
    teacher: ModelFigures | None = None
    student: ModelFigures
    """Of the final run that was best on validation."""
    bundle: str | None = None
    export: ExportFigures | None = None
    teacher_bundle: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    device: str
    threads: int
    processes: int = 1
    seconds: float


class ArmFigures(Answer):
    """One method, or one control, of a comparison."""

    label: str
    method: str
    is_control: bool = False
    teacher_view: str = "paired"
    error: str | None = None
    """Why there are no figures."""
    lr: float | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    chosen: str = ""
    """Why they: a sentence."""
    trials: int = 0
    runs: list[FinalRunFigures] = Field(default_factory=list)
    val: EstimateFigures | None = None
    test: EstimateFigures | None = None
    difference: EstimateFigures | None = None
    """To the control `no_teacher`, paired by seed; what its interval is over says `ComparisonFigures`."""
    over_seeds: EstimateFigures | None = None
    """The same with an interval over seeds alone; null in old results, whose `difference` is that."""
    row_error: float | None = None
    """Standard error of the difference over test rows, or groups of them; null where it is not known."""
    p_value: float | None = None
    p_value_holm: float | None = None
    """Adjusted for the number of methods that were compared."""
    teacher_gap_closed: float | None = None
    verdict: str | None = None
    seconds: float = 0.0


class ComparisonFigures(Answer):
    """What a comparison of methods came to."""

    kind: str
    name: str
    spec_sha256: str
    data_sha256: str
    metric: str = "accuracy"
    """What the estimates are of, 0..1."""
    intervals: str = SEEDS
    """What intervals of differences are over, in words; those of an arm's own figures are over seeds."""
    chance: float | None = None
    """What who looks at no sample has of it."""
    teacher: ModelFigures | None = None
    arms: list[ArmFigures]
    best: str | None = None
    """Label of what is best on validation."""
    summary: list[str] = Field(default_factory=list)
    """What it means, in sentences."""
    bundle: str | None = None
    export: ExportFigures | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    seconds: float = 0.0


class DiagnosisFigures(Answer):
    """What a look at data and teacher found."""

    kind: str
    name: str
    spec_sha256: str
    data_sha256: str
    findings: dict[str, Any] = Field(default_factory=dict)
    """Figures by section."""
    verdict: str
    reasons: list[dict[str, Any]] = Field(default_factory=list)
    """What each rule made of the findings: `rule`, `speaks` (for, unclear, against), `text`."""
    advice: list[str] = Field(default_factory=list)
    """What to do next, the most urgent first."""
    versions: dict[str, str] = Field(default_factory=dict)
    device: str | None = None
    threads: int | None = None
    seconds: float = 0.0


_BY_KIND: dict[object, type[Answer]] = {
    "distill": RunFigures,
    "train": RunFigures,
    "study": StudyFigures,
    "compare": ComparisonFigures,
    "diagnose": DiagnosisFigures,
}


def _by_kind(value: object) -> object:
    model = _BY_KIND.get(value.get("kind")) if isinstance(value, Mapping) else None
    return value if model is None else model.model_validate(value)


Figures = Annotated[
    RunFigures | StudyFigures | ComparisonFigures | DiagnosisFigures | dict[str, Any],
    BeforeValidator(_by_kind),
]
"""A result by its `kind`."""
