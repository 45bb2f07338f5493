"""What a diagnosis finds, section by section: part of its `result.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fdkd_core.spec.measures import MetricName
from fdkd_core.spec.strict import StrictModel
from fdkd_core.spec.tasks import TaskKind

Part = Literal["teacher", "student"]
Band = Literal["low", "high", "whole"]


class Spread(StrictModel):
    """Where a figure lies when what it measures is not there: mean and 2.5 % to 97.5 % of random repeats."""

    mean: float
    low: float
    high: float


class SampleFindings(StrictModel):
    """Which rows were looked at."""

    fit_rows: int
    """Training rows that networks and probes learned from."""
    held_out_rows: int
    """Training rows kept from them, in blocks of neighbours in the order of the file."""
    measured_rows: int
    """Rows over which similarity was measured: those held out, filled up with validation rows."""
    val_rows: int
    """Validation rows over which the task's figures were measured."""
    test_rows: int
    """Rows of the test split. Only counted, and its inputs compared with those of the other splits."""
    train_rows: int
    """Rows of the whole training split."""
    unpaired_rows: int = 0
    """Those among them that lack the teacher's modality: they are no pairs, and were left out."""


class RepeatFindings(StrictModel):
    """Pairs of one split that are not one to one."""

    split: str
    rows: int
    """Its pairs."""
    teacher_samples: int
    """Different teacher samples that are paired with several different student samples."""
    teacher_rows: int
    """Rows of them."""
    most_students: int
    """Most student samples that one teacher sample is paired with."""
    student_samples: int
    student_rows: int
    most_teachers: int
    repeated_pairs: int
    """Rows whose whole pair stands in an earlier row of the split."""


class LeakFindings(StrictModel):
    """Rows of one split whose sample stands in another split too."""

    first_split: str
    second_split: str
    part: Literal["teacher", "student", "pair"]
    equal_rows: int
    """Rows of the second split whose sample is equal to one of the first."""
    near_rows: int
    """Further rows whose sample is nearly identical to one of the first."""
    checked_rows: int
    """Rows of the second split that were compared."""
    examples: list[tuple[str, str]]
    """Ids of up to three such rows: of the first split, and of the second."""


class ShiftFit(StrictModel):
    """How well pairs fit when the student's column is moved against the teacher's."""

    shift: int
    """Teacher row i with student row i + shift, in the order of the file."""
    rows: int
    fit: float
    """R² on held-out rows."""
    gain: float
    """`fit` minus that of the pairs as given, over the same rows."""
    standard_error: float
    """Of `gain`."""
    is_better: bool


class AlignmentFindings(StrictModel):
    """Whether what should belong together fits best as it is given."""

    what: Literal["teacher_from_student", "label_from_teacher", "label_from_student"]
    rows: int
    fit: float
    """R² of the pairs as given, on held-out rows."""
    shuffled: Spread
    """The same with rows shuffled."""
    shuffled_within_class: Spread | None
    """The same with rows shuffled within their class, or what else `SimilarityFindings.stratum` names; null
    for labels, which that does not change, and where there are no such rows."""
    shifts: list[ShiftFit]
    """Those that could be tried: none where too few rows have a neighbour among those looked at."""
    best_shift: int
    """0 when no shift that was tried fits better than the pairs as given."""


class PairingFindings(StrictModel):
    """What is wrong with the pairs."""

    blank_rows: dict[Part, int]
    """Rows, over all splits, whose sample is one constant value: a placeholder for something missing."""
    contradicting_rows: dict[Part, int]
    """Rows of train and validation whose sample stands in another row with another label; of numbers, with
    one that differs by more than a tenth of its deviation."""
    blank_labels: int | None = None
    """Rows of train and validation whose label holds nothing to tell apart: a set without a class, a mask of
    one value. Null of tasks that have no such labels."""
    repeats: list[RepeatFindings]
    leaks: list[LeakFindings]
    """Only those that were found."""
    alignment: list[AlignmentFindings]


class NetworkFindings(StrictModel):
    """The network whose features were looked at."""

    part: Part
    modality: str
    how: Literal["given", "trained", "untrained"]
    why: str
    """In a sentence: with what budget it was trained, or why it was not."""
    diverged: bool = False
    """Whether it is untrained because its training diverged."""
    epochs: int
    steps: int
    accuracy: float | None
    """On validation; null for an untrained network, and for a task that does not measure it."""
    macro_f1: float | None
    figures: dict[MetricName, float] = Field(default_factory=dict)
    """All that the task measures, on validation; empty for an untrained network."""


class Similarity(StrictModel):
    """How much of a band of the teacher's feature the student's side holds, by one measure."""

    band: Band
    view: Literal["inputs", "features"]
    """Of the student: its inputs, or the features of a network of its architecture."""
    measure: Literal["r2", "cka"]
    value: float
    shuffled: Spread
    """With pairs shuffled: what two unrelated modalities would show."""
    shuffled_within_class: Spread | None
    """With pairs shuffled within each class, or what else `SimilarityFindings.stratum` names: what sharing
    that alone would show. Null where it names nothing."""
    other_channel_orders: Spread | None
    """The same band after the teacher's channels were put into random orders; null where the order makes no
    difference: for the whole feature, and for bases that are not along the channels."""
    is_above_shuffled: bool
    is_above_within_class: bool | None


class SimilarityFindings(StrictModel):
    """What teacher and student share, by band, without the mean over channels."""

    cutoff: float
    basis: Literal["fft", "dct", "pca", "class", "random"]
    """In which the feature is split."""
    teacher_dim: int
    student_dim: int
    repeats: int
    """Random repeats behind each spread."""
    places: int | None = None
    """Of a segmentation: places of maps that it was measured at, one of each picture; null of other tasks."""
    stratum: str | None = "class"
    """What rows have in common that change places in `shuffled_within_class`: `class`, `class set`,
    `label range`, `label`, `pixel class`. Null where hardly two rows have anything in common: then there is
    no such null."""
    band_energy: dict[Band, float]
    """Share of the variance of the teacher's feature, without its mean over channels, 0..1."""
    mean_energy: float
    """Share of the mean over channels (the DC bin) in the feature's energy, 0..1: what makes any two features
    of ReLU networks look alike."""
    measures: list[Similarity]


class ProbeFindings(StrictModel):
    """How well the labels can be told from one view of one modality."""

    part: Part
    view: Literal["inputs", "features", "network"]
    """A linear probe on the inputs or on a network's features, or the network's own last layer."""
    accuracy: float | None
    """Null for a task that does not measure it; so is `macro_f1`."""
    macro_f1: float | None
    figures: dict[MetricName, float] = Field(default_factory=dict)
    """All that the task measures, on validation."""


class HeadroomFindings(StrictModel):
    """Whether the teacher knows more than the student's modality gives away by itself."""

    metric: MetricName
    """What the figures below are of: the job's `select_by`; the task's main figure where that is the loss."""
    chance: float
    """Of the best answer that is the same for all rows, such as the most frequent class or the mean."""
    probes: list[ProbeFindings]
    teacher: float
    """Of the teacher as it would teach."""
    teacher_error: float | None = None
    """Standard error of `teacher`, over validation rows."""
    student: float
    """The best that was reached from the student's modality with labels alone."""
    gap: float
    """`teacher` minus `student`; turned round for errors, so that it is positive where the teacher leads."""
    standard_error: float
    """Of `gap`, over validation rows."""
    test_rows: int
    expected_gain: float
    """What a good method may add: a stated share of the gap."""
    detectable_gain: float
    """Smallest gain that the test split would show in four of five cases, with one seed."""
    groups: int | None = None
    """How many groups the validation rows are of, over which the errors above are; of a retrieval without
    such a column, labels. Null where rows are independent, and in results of earlier releases."""
    is_one_label: bool = False
    """Whether all these rows have the same label: figures on them tell nothing of any other."""


class StepSpeed(StrictModel):
    """Training steps of one phase of the job, as timed here."""

    phase: Literal["teacher", "student", "control"]
    batch_size: int
    timed_steps: int
    steps_per_s: float
    batch_s: float
    """Median seconds for making a batch."""
    step_s: float
    """Median seconds for forward, backward and optimiser."""


class PhaseEstimate(StrictModel):
    """Seconds of one part of a `distill` job with this spec."""

    phase: Literal["loading", "teacher", "teacher outputs", "student", "control", "testing"]
    seconds: float


class SpeedFindings(StrictModel):
    """What the job would cost on the machine that made this diagnosis."""

    steps: list[StepSpeed]
    method_overhead: float | None
    """Step time with the method over that without; null without a method."""
    memory: Literal["process", "gpu"]
    """Whose memory the two figures are of."""
    peak_bytes: int
    """Peak during the timed steps, data and libraries included."""
    growth_bytes: int
    """How much of it came with the timed steps."""
    estimate: list[PhaseEstimate]
    total_s: float


class Findings(StrictModel):
    """All sections."""

    task: TaskKind = "classification"
    """What the job would learn, and so what figures are of."""

    sample: SampleFindings
    pairing: PairingFindings
    networks: list[NetworkFindings]
    similarity: SimilarityFindings
    headroom: HeadroomFindings
    speed: SpeedFindings


class Reason(StrictModel):
    """One rule of the verdict, and what it made of the findings."""

    rule: Literal[
        "pairing", "alignment", "training", "teacher", "headroom", "similarity", "bands", "power", "sample"
    ]
    speaks: Literal["for", "unclear", "against"]
    text: str
    """In plain sentences."""


class DiagnosisResult(StrictModel):
    """`result.json` of a diagnosis."""

    schema_version: Literal[1] = 1
    kind: Literal["diagnose"]
    name: str
    spec_sha256: str
    data_sha256: str
    findings: Findings
    """Figures by section."""
    verdict: Literal["promising", "uncertain", "unpromising"]
    """Whether a transfer can be expected: by the worst of the reasons."""
    reasons: list[Reason]
    """What each rule of the verdict made of the findings, those against first."""
    advice: list[str]
    """What to do next, in sentences, the most urgent first."""
    versions: dict[str, str]
    device: str
    threads: int
    seconds: float
