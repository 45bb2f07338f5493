"""What models cost to run, and what became of a student's export: parts of results."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from fdkd_core.spec.measures import MetricName
from fdkd_core.spec.strict import StrictModel


class BatchLatency(StrictModel):
    """How long one forward pass of a batch took, on one machine at one moment."""

    batch_size: int
    median_ms: float
    p95_ms: float
    """95 of 100 passes were as fast as this; with few repeats, nearly the slowest."""
    repeats: int


class Latency(StrictModel):
    """How long a model takes on the CPU of the machine that trained it."""

    runtime: Literal["torch", "onnxruntime"]
    threads: int
    """One, but for a given ONNX teacher, which keeps those that it was opened with."""
    batches: list[BatchLatency]
    """A batch that does not fit the time of `export.latency_s` several times is missing."""

    def median_ms(self, batch_size: int) -> float | None:
        """Of one batch size; None where it was not measured."""
        found = (batch.median_ms for batch in self.batches if batch.batch_size == batch_size)
        return next(found, None)


class OnnxFile(StrictModel):
    """An ONNX file of a student, measured where it was made."""

    file: str
    """Its name in the bundle."""
    size_bytes: int
    metric: MetricName
    """The task's main figure."""
    val: float
    """That figure on the validation split."""
    latency: Latency | None
    """Null when `export.latency_s` is 0."""

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_releases(cls, fields: Any) -> Any:
        """They measured classification alone."""
        if not isinstance(fields, dict) or "val_accuracy" not in fields:
            return fields
        others = {name: value for name, value in fields.items() if name != "val_accuracy"}
        return {**others, "metric": "accuracy", "val": fields["val_accuracy"]}


class Int8File(OnnxFile):
    """One with eight-bit weights, as it was measured, whether it was kept or not."""

    scheme: Literal["dynamic", "static"]
    """`dynamic`: matrix products only, rounded by the range of each batch. `static`: convolutions too, by
    ranges that were found on training rows."""
    kept: bool
    """Whether it is in the bundle; at most one is. That can depend on the machine, since speed counts."""
    reason: str
    """Why, for people."""


class ExportReport(StrictModel):
    """The ONNX files that were made of a student, and what they cost to run."""

    fp32: OnnxFile
    int8: list[Int8File]
    """What was tried; empty when `export.int8` is off, or see `int8_not_tried`."""
    int8_failures: list[str]
    """Of schemes that could not even be tried: which, and what went wrong."""
    int8_not_tried: str | None = None
    """Why none was, though `export.int8` is on: for people."""

    @property
    def kept(self) -> Int8File | None:
        """The int8 file that is in the bundle."""
        return next((file for file in self.int8 if file.kept), None)
