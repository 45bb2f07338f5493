"""What a run hands back: `result.json`, by kind of job."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from fdkd_core.spec.auto_result import AutoReport
from fdkd_core.spec.execution import ExecutionReport
from fdkd_core.spec.export_result import ExportReport, Latency
from fdkd_core.spec.figures import ClassificationMetrics as ClassificationMetrics
from fdkd_core.spec.figures import Estimate as Estimate
from fdkd_core.spec.figures import FinalRun as FinalRun
from fdkd_core.spec.figures import SplitMetrics as SplitMetrics
from fdkd_core.spec.findings import DiagnosisResult
from fdkd_core.spec.measures import MetricName, SelectBy
from fdkd_core.spec.pairing_words import pairing_sentence
from fdkd_core.spec.row_blocks import SEEDS, RowBlocks
from fdkd_core.spec.strict import StrictModel
from fdkd_core.spec.uplift import AnyUplift
from fdkd_core.spec.uplift import TaskUplift as TaskUplift
from fdkd_core.spec.uplift import Uplift as Uplift


class ModelResult(StrictModel):
    """One trained or loaded model."""

    modality: str
    architecture: dict[str, str | int | float | bool | list[int] | None]
    """As in the spec, with the defaults filled in; of an ONNX file `{"name": "onnx", "opset": N}`; of
    recorded outputs `{"name": "recorded"}` with their columns, and the sizes below are 0: unknown."""
    parameters: int
    """Learnt numbers; of an ONNX file, those in its initialisers."""
    multiply_adds: int
    """Per sample, forward; 0 for an ONNX file, where nobody counted them."""
    size_bytes: int
    """Of the safetensors file, or the ONNX file."""
    val: SplitMetrics
    test: SplitMetrics
    seconds: float
    """Wall time of training, evaluations included; 0 for a loaded model."""
    epochs: int
    """Epochs trained; 0 for a loaded model."""
    best_epoch: int
    """Epoch whose weights were kept, from 1; 0 for a loaded model."""
    weights_sha256: str
    """Of the safetensors file, or the ONNX file; "" for recorded outputs, which `data_sha256` covers."""
    latency: Latency | None = None
    """Null where it was not measured: `export.latency_s` is 0, or it is a control, which is as fast as the
    student."""
    execution: ExecutionReport | None = None
    """How its training steps were computed, and why so; null for a model that was not trained here."""


class GateResult(StrictModel):
    """What became of one gate of the spec."""

    metric: MetricName
    passed: bool
    value: float
    """Student minus control on the test split, a fraction; of MAE and RMSE, of the control's."""
    standard_error: float
    """Of `value`; see `Uplift`."""
    threshold: float
    """The margin that was asked for."""
    significant: bool
    """Whether the margin had to be exceeded by half of the 95 % interval."""
    on_fail: Literal["warn", "fail"]
    sentence: str
    """All this for people."""


class TaughtRows(StrictModel):
    """How many training rows a teacher spoke about."""

    teacher: str
    """Its phase: `teacher`, `teacher2`, ..."""
    pairing: Literal["instance", "class"]
    paired_rows: int
    """Training rows with a teacher's view of their own; with `class` they made the means."""
    training_rows: int
    """All that the student was trained on."""
    unlabelled_rows: int = 0
    """Those of them that have no label, and learn from the teacher alone."""
    untaught_rows: int | None = None
    """Those of them that learn from their label alone: without a view, and with `class` also without any in
    their class. Null in results of earlier releases."""

    @property
    def sentence(self) -> str:
        """How the data were paired, for people."""
        return pairing_sentence(self)


class RunResult(StrictModel):
    """`result.json`."""

    schema_version: Literal[1] = 1
    kind: Literal["distill", "train"]
    name: str
    spec_sha256: str
    data_sha256: str
    classes: int
    """0 where labels are numbers."""
    teacher: ModelResult | None
    """Null without one, and for recorded outputs without logits, which no figures are known of."""
    more_teachers: list[ModelResult] = Field(default_factory=list)
    """Those beside the first, in the order of the spec; without those that no figures are known of."""
    student: ModelResult
    control: ModelResult | None
    uplift: AnyUplift | None
    gates: list[GateResult] = Field(default_factory=list)
    """As many as the spec has, in its order."""
    taught: list[TaughtRows] = Field(default_factory=list)
    """One for each teacher; empty without distillation."""
    auto: AutoReport | None = None
    """What was tried, for a job that chose its method itself; its control is the tuned one."""
    bundle: str | None
    """Folder of the student bundle, relative to the output folder; null when a gate withheld the student."""
    export: ExportReport | None = None
    """The student's ONNX files; null where none was made."""
    teacher_bundle: str | None
    """Folder of the teacher this job trained, relative to the output folder."""
    more_teacher_bundles: list[str | None] = Field(default_factory=list)
    """The same for each of `more_teachers`."""
    versions: dict[str, str]
    """Python and library versions that made this result."""
    device: str
    threads: int
    """Of each process."""
    processes: int = 1
    """That trained each model together."""
    seconds: float
    """Wall time of the run, from where it was resumed if it was."""


class Trial(StrictModel):
    """One training of a search."""

    number: int
    """From 0."""
    lr: float
    parameters: dict[str, float | str]
    """What was tried of the method, by the names of its fields (`parts.0.weight` of a combination)."""
    val: SplitMetrics | None
    """Null when training diverged."""
    seconds: float


class StudyResult(StrictModel):
    """`result.json` of a study: one method, tuned and repeated."""

    schema_version: Literal[1] = 1
    kind: Literal["study"]
    name: str
    spec_sha256: str
    data_sha256: str
    classes: int
    method: dict[str, Any]
    """As tuned, with every default filled in."""
    lr: float
    """As tuned."""
    parameters: dict[str, float | str]
    """The fields of the method that were tuned, as in the trial that was chosen."""
    chosen: str = ""
    """Why this trial: a sentence. Empty where there was only one, and in results of earlier releases."""
    teacher_view: str
    select_by: SelectBy
    """The validation figure that decided."""
    chance: float | None = None
    """What who looks at no sample has of it on the test split; of the task's main figure where the loss
    decided. Null in results of earlier releases."""
    taught: list[TaughtRows] = Field(default_factory=list)
    """One, of the teacher; empty without one, and in results of earlier releases."""
    trials: list[Trial]
    runs: list[FinalRun]
    test_rows: RowBlocks | None = None
    """Of the final runs, in the figure that comparisons report: what each row of the test split adds. Null in
    results of earlier releases."""
    metric: MetricName | None = None
    """That figure. Null in results of earlier releases."""
    test: Estimate | None = None
    """It on the test split: mean over the final runs with its 95 % interval, which says what to expect of
    another training like them. Null in results of earlier releases."""
    intervals: str = SEEDS
    """What the interval is over, in words, as `CompareResult.intervals`."""
    teacher: ModelResult | None
    student: ModelResult
    """Of the final run that was best on validation: the one handed over."""
    bundle: str
    """Folder of the student bundle, relative to the output folder."""
    export: ExportReport | None = None
    """The student's ONNX files; null where none was made."""
    teacher_bundle: str | None
    """Folder of the teacher this job trained, relative to the output folder."""
    versions: dict[str, str]
    device: str
    threads: int
    """Of each process."""
    processes: int = 1
    """That trained each model together."""
    seconds: float
    """See `RunResult.seconds`."""


CANCELLED = "cancelled"
"""`Arm.error` of one whose job was cancelled: nothing went wrong with it."""


class Arm(StrictModel):
    """One method, or one control, of a comparison."""

    label: str
    method: str
    is_control: bool
    teacher_view: str
    error: str | None
    """Why there are no figures; null when there are."""
    lr: float | None
    parameters: dict[str, float | str]
    """The method's, as tuned."""
    chosen: str = ""
    """Why they: a sentence. Empty with one trial, and in results of earlier releases."""
    trials: int
    runs: list[FinalRun]
    val: Estimate | None
    test: Estimate | None
    """Of `CompareResult.metric`."""
    difference: Estimate | None
    """To the control `no_teacher`, paired by seed; null for that control itself. What its interval is over
    stands in `CompareResult.intervals`."""
    over_seeds: Estimate | None = None
    """The same with an interval over seeds alone; null in results of earlier releases, whose `difference` is
    that."""
    row_error: float | None = None
    """Standard error of the difference over rows, or groups, of the test split; null where nobody knows."""
    p_value: float | None
    """Two-sided, of the paired t-test where intervals are over seeds alone, and else the level at which the
    interval ends at 0; null with one seed, and where all differences are the same."""
    p_value_holm: float | None
    """The same, adjusted (Holm 1979) for the number of methods that were compared; null for controls."""
    teacher_gap_closed: float | None
    """Share of the gap between control and teacher; null when the teacher is not ahead by a point."""
    verdict: Literal["helps", "no evidence", "hurts"] | None
    """By the interval of the difference: above 0, around it, below it. An interval without width, such as
    that of one seed, is no evidence."""
    seconds: float
    """Wall time of all its trainings."""


class CompareResult(StrictModel):
    """`result.json` of a comparison."""

    schema_version: Literal[1] = 1
    kind: Literal["compare"]
    name: str
    spec_sha256: str
    data_sha256: str
    metric: MetricName
    """What the estimates are of, 0..1."""
    intervals: str = SEEDS
    """What intervals of differences are over, in words: `seeds`, `seeds and test rows`, or such as `seeds and
    the 12 groups of the test split`. Those of an arm's own figures are over seeds alone."""
    chance: float | None = None
    """What who looks at no sample has of it; null in results of earlier releases."""
    teacher: ModelResult | None
    arms: list[Arm]
    """The control `no_teacher` first, then methods and controls in the order of the spec."""
    best: str | None
    """Label of the method, or `no_teacher`, that is best on validation; null when all failed."""
    summary: list[str]
    """What it means, in sentences."""
    bundle: str | None
    """Folder of the student of `best`, relative to the output folder; null where the arms were run elsewhere,
    as jobs with bundles of their own."""
    export: ExportReport | None = None
    """That student's ONNX files; null where none was made, or the arms were run elsewhere."""
    versions: dict[str, str]
    seconds: float
    """Wall time of the run, from where it was resumed if it was. Where the arms were run elsewhere, maybe at
    the same time, the time of all that was computed: training of the shared teacher, the run of each arm that
    has a result, and the conclusion; of the last alone in results of earlier releases."""


Result = RunResult | StudyResult | CompareResult | DiagnosisResult
_ADAPTER: TypeAdapter[Result] = TypeAdapter(Annotated[Result, Field(discriminator="kind")])


def parse_result(text: bytes) -> Result:
    """Reads `result.json`.

    Raises:
        ValidationError: It is not one.
    """
    return _ADAPTER.validate_json(text)
