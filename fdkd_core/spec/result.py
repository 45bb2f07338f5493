"""What a run hands back: `result.json`."""

from __future__ import annotations

from typing import Literal

from fdkd_core.spec.strict import StrictModel


class SplitMetrics(StrictModel):
    """Figures of one model on one split."""

    accuracy: float
    """Share of right predictions, 0..1."""
    macro_f1: float
    """Mean over classes of F1, 0..1; equal to accuracy in spirit, but fair to rare classes."""
    loss: float
    """Mean cross-entropy, in nats."""
    num_samples: int


class ModelResult(StrictModel):
    """One trained or loaded model."""

    modality: str
    architecture: dict[str, str | int | float]
    """As in the spec, with the defaults filled in."""
    parameters: int
    multiply_adds: int
    """Per sample, forward."""
    size_bytes: int
    """Of the safetensors file."""
    val: SplitMetrics
    test: SplitMetrics
    seconds: float
    """Wall time of training, evaluations included; 0 for a loaded model."""
    epochs: int
    """Epochs trained; 0 for a loaded model."""
    best_epoch: int
    """Epoch whose weights were kept, from 1; 0 for a loaded model."""
    weights_sha256: str


class Uplift(StrictModel):
    """Student minus control: what the teacher's knowledge added. Positive is better."""

    val_accuracy: float
    test_accuracy: float
    test_macro_f1: float
    teacher_gap_closed: float | None
    """Share of the teacher-control gap in test accuracy that the student closed; null when the teacher is
    not ahead of the control by at least one point."""
    standard_error: float
    """Of `test_accuracy`, from the test samples on which the two disagree (paired); it does not cover
    the spread over seeds."""


class RunResult(StrictModel):
    """`result.json`."""

    schema_version: Literal[1] = 1
    kind: Literal["distill", "train"]
    name: str
    spec_sha256: str
    data_sha256: str
    classes: int
    teacher: ModelResult | None
    student: ModelResult
    control: ModelResult | None
    uplift: Uplift | None
    bundle: str
    """Folder of the student bundle, relative to the output folder."""
    teacher_bundle: str | None
    """Folder of the teacher this job trained, relative to the output folder."""
    versions: dict[str, str]
    """Python and library versions that made this result."""
    device: str
    threads: int
    seconds: float
    """Wall time of the whole run, over all attempts."""
