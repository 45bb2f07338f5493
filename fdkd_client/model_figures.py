"""What the service tells of one model, and what every answer of it has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of everything the server sends: frozen, unknown fields kept."""

    model_config = ConfigDict(
        frozen=True, extra="allow", protected_namespaces=(), use_attribute_docstrings=True
    )


class SplitFigures(Answer):
    """Figures of one model on one split."""

    accuracy: float | None = None
    """Share of right predictions, 0..1; as `macro_f1`, of classification. Other tasks have other figures,
    which stand beside these by their names."""
    macro_f1: float | None = None
    loss: float
    num_samples: int

    def value(self, name: str) -> float | None:
        """A figure by its name; None where there is none of that name."""
        found = getattr(self, name, None)
        return float(found) if isinstance(found, int | float) else None


class BatchLatencyFigures(Answer):
    """How long one forward pass of a batch took."""

    batch_size: int
    median_ms: float
    p95_ms: float
    repeats: int


class LatencyFigures(Answer):
    """How long a model takes on a CPU of the worker that trained it."""

    runtime: str
    threads: int = 1
    batches: list[BatchLatencyFigures] = Field(default_factory=list)


class OnnxFileFigures(Answer):
    """An ONNX file of a student."""

    file: str
    size_bytes: int
    metric: str = "accuracy"
    """The task's main figure."""
    val: float | None = None
    """That figure on the validation split."""
    latency: LatencyFigures | None = None


class Int8FileFigures(OnnxFileFigures):
    """One with eight-bit weights, whether it was kept or not."""

    scheme: str
    kept: bool = False
    reason: str = ""


class ExportFigures(Answer):
    """The ONNX files that were made of a student, and what they cost to run."""

    fp32: OnnxFileFigures
    int8: list[Int8FileFigures] = Field(default_factory=list)
    """What was tried; at most one of them is in the bundle."""
    int8_not_tried: str | None = None
    """Why nothing was, where the task has no figure to judge it by."""


class ModelFigures(Answer):
    """One trained or given model of a job."""

    modality: str
    architecture: dict[str, Any]
    parameters: int
    multiply_adds: int
    size_bytes: int
    val: SplitFigures
    test: SplitFigures
    seconds: float
    epochs: int
    best_epoch: int
    weights_sha256: str
    latency: LatencyFigures | None = None
    execution: dict[str, Any] | None = None
    """How its steps were computed, and what was tried before that was chosen."""
