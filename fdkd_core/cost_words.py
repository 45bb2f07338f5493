"""What a student costs to run, in the words that core and client show on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class _Batch(Protocol):
    @property
    def batch_size(self) -> int: ...
    @property
    def median_ms(self) -> float: ...


class LatencyLike(Protocol):
    """`Latency` of a result, or what a client made of it."""

    @property
    def threads(self) -> int:
        """Of the CPU."""

    @property
    def batches(self) -> Sequence[_Batch]:
        """By batch size."""


class _Int8(Protocol):
    @property
    def scheme(self) -> str: ...
    @property
    def reason(self) -> str: ...


class ExportLike(Protocol):
    """`ExportReport` of a result, or what a client made of it."""

    @property
    def int8(self) -> Sequence[_Int8]:
        """What was tried."""

    @property
    def int8_not_tried(self) -> str | None:
        """Why nothing was."""


def cost_lines(
    student: LatencyLike | None, teacher: LatencyLike | None, export: ExportLike | None
) -> list[tuple[str, str]]:
    """A heading of one word and a sentence each, as many as there is something to say.

    Args:
        student: None where no times were measured.
        teacher: None without one.
        export: None where no ONNX file was made.
    """
    lines = []
    if student is not None and student.batches:
        lines.append(("speed", _speed(student, teacher)))
    if export is not None:
        lines += [("int8", f"{file.scheme}: {file.reason}") for file in export.int8]
        lines += [("int8", f"not tried, because {export.int8_not_tried}")] if export.int8_not_tried else []
    return lines


def _speed(student: LatencyLike, teacher: LatencyLike | None) -> str:
    slow = {} if teacher is None else {batch.batch_size: batch.median_ms for batch in teacher.batches}
    parts = []
    for batch in student.batches:
        samples = "a sample" if batch.batch_size == 1 else str(batch.batch_size)
        part = f"{batch.median_ms:.3g} ms for {samples}"
        beside = slow.get(batch.batch_size)
        if beside is not None and batch.median_ms > 0:
            part += f" (teacher {beside:.3g} ms, {beside / batch.median_ms:.2g} times that)"
        parts.append(part)
    threads = "" if teacher is None or teacher.threads == 1 else f", {teacher.threads} of the teacher"
    return f"{', '.join(parts)}; one CPU thread{threads}"
