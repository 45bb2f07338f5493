"""Trying what a student's ONNX file gains from eight-bit weights, and keeping them only where they help."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from fdkd_core.bundle.folder import INT8, ONNX
from fdkd_core.bundle.onnx_int8 import quantise_dynamic, quantise_static
from fdkd_core.bundle.onnx_session import OnnxSession
from fdkd_core.latency import Timed, measure
from fdkd_core.long_inputs import rows_at_a_time
from fdkd_core.spec.export import ExportSpec
from fdkd_core.spec.export_result import BatchLatency, ExportReport, Int8File, Latency, OnnxFile
from fdkd_core.spec.measures import MEASURES, Measure, MetricName

MIN_GAIN = 0.1
"""Of size or of time: less is not worth a second file."""
MAX_SLOWDOWN = 0.25
"""What a smaller file may cost in time. Medians that are taken in turns differ by less where nothing changed.
"""
_BATCH = 64
_ANSWER_BYTES = 64 << 20
"""At a time: the scores of every pixel of a batch of pictures may be more than a machine has."""

Scheme = Literal["dynamic", "static"]


@dataclass(frozen=True)
class ExportTrial:
    """On what the ONNX files of a student are measured."""

    spec: ExportSpec
    inputs: NDArray[Any]
    """The validation split as the network eats it, [N, *input_shape], N at least 1; may be memory-mapped."""
    calibration: NDArray[Any]
    """Training inputs [M, *input_shape], M at least 1, by which static int8 finds its ranges."""
    score: Callable[[Iterable[NDArray[np.float32]]], float]
    """The task's main figure of a network's answers to `inputs`, some rows at a time in their order."""
    measure: Measure
    """Which figure that is."""
    has_units: bool = False
    """Whether the answers are in units of the data, however large: the last layer then stays in float32."""
    no_int8: str | None = None
    """Why int8 is not tried for this task; None where it is."""


@dataclass(frozen=True)
class Exported:
    """What came out of it."""

    report: ExportReport
    int8_file: bytes | None
    """None when it was not asked for or not worth keeping."""


def try_export(fp32_file: bytes, trial: ExportTrial) -> Exported:
    """Measures `model.onnx`, and int8 of both schemes against it where that was asked for.

    Args:
        fp32_file: What `export_onnx` gave.
        trial: Data and limits.
    """
    makers: dict[Scheme, Callable[[], bytes]] = {
        "dynamic": lambda: quantise_dynamic(fp32_file, but_last=trial.has_units),
        "static": lambda: quantise_static(fp32_file, trial.calibration, but_last=trial.has_units),
    }
    files: dict[str, bytes] = {"fp32": fp32_file}
    sessions = {"fp32": OnnxSession(fp32_file, threads=1)}
    scores = {"fp32": _score(sessions["fp32"], trial)}
    failures = []
    is_tried = trial.spec.int8 and trial.no_int8 is None
    for scheme, make in makers.items() if is_tried else ():
        try:
            made = make()
            session = OnnxSession(made, threads=1)
            scores[scheme] = _score(session, trial)  # what loads may still not run, or answer with NaN
            files[scheme], sessions[scheme] = made, session
        except Exception as error:  # of any class; a student must not be lost for a file that nobody needs
            failures.append(f"{scheme}: {type(error).__name__}: {error}"[:300])
    candidates = {name: Timed(session, trial.inputs[:_BATCH]) for name, session in sessions.items()}
    batches = measure(candidates, budget_s=trial.spec.latency_s)
    found = {name: _measured(name, file, scores[name], batches[name], trial) for name, file in files.items()}
    fp32 = found.pop("fp32")
    judged = judge(
        fp32, {scheme: found[scheme] for scheme in makers if scheme in found}, trial.spec.max_accuracy_loss
    )
    kept = next((file.scheme for file in judged if file.kept), None)
    not_tried = trial.no_int8 if trial.spec.int8 else None
    report = ExportReport(fp32=fp32, int8=judged, int8_failures=failures, int8_not_tried=not_tried)
    return Exported(report, None if kept is None else files[kept])


def judge(fp32: OnnxFile, tried: dict[Scheme, OnnxFile], max_accuracy_loss: float) -> list[Int8File]:
    """Which int8 file is worth keeping, if any, and why in a sentence each.

    One may be kept when it loses no more of the task's main figure than allowed, is smaller or faster by
    `MIN_GAIN`, and nowhere slower by more than `MAX_SLOWDOWN`. Of two, that with the smaller product of size
    and time is.

    Args:
        fp32: The file without int8.
        tried: By scheme.
        max_accuracy_loss: Of that figure on the validation split, as `Measure.loss` counts it.
    """
    allowed = MEASURES[fp32.metric].loss_text(max_accuracy_loss)
    refusals = {scheme: _refusal(fp32, file, max_accuracy_loss) for scheme, file in tried.items()}
    fit = [scheme for scheme, refusal in refusals.items() if not refusal]
    best = min(fit, key=lambda scheme: _cost(fp32, tried[scheme]), default=None)
    judged = []
    for scheme, file in tried.items():
        verdict = "Kept" if scheme == best else refusals[scheme] or f"Dropped for {best}"
        reason = f"{verdict}: {_facts(fp32, file)} (at most {allowed} may be lost)."
        judged.append(Int8File(**dict(file), scheme=scheme, kept=scheme == best, reason=reason))
    return judged


def _refusal(fp32: OnnxFile, int8: OnnxFile, max_accuracy_loss: float) -> str:
    """Why a file is not worth keeping whatever else there is, in few words; "" when it is."""
    # Of ratios of whole numbers one more sample lost is far more than this.
    if MEASURES[fp32.metric].loss(fp32.val, int8.val) > max_accuracy_loss + 1e-9:
        return "Dropped as less accurate"
    ratios = [int8.size_bytes / fp32.size_bytes, *_time_ratios(fp32, int8).values()]
    if max(ratios[1:], default=1.0) > 1 + MAX_SLOWDOWN:
        return "Dropped as slower"
    return "Dropped, for there is little to gain" if min(ratios) > 1 - MIN_GAIN else ""


def _facts(fp32: OnnxFile, int8: OnnxFile) -> str:
    parts = [f"{_change(int8.size_bytes / fp32.size_bytes)} bytes"]
    for batch, ratio in _time_ratios(fp32, int8).items():
        parts.append(f"{_change(ratio)} time for {'a sample' if batch == 1 else batch}")
    measure = MEASURES[fp32.metric]
    if measure.form == "number":
        parts.append(f"{100 * (int8.val / (fp32.val or 1.0) - 1):+.1f} % validation {measure.words}")
    else:
        parts.append(f"{measure.gain(int8.val - fp32.val)} of validation {measure.words}")
    return ", ".join(parts)


def _change(ratio: float) -> str:
    """The sign of what is shown: nothing is +0 %, never -0 %."""
    return f"{round(100 * (ratio - 1)) + 0:+d} %"


def _cost(fp32: OnnxFile, int8: OnnxFile) -> float:
    """Size times the geometric mean of the times, each as a share of those without int8."""
    ratios = list(_time_ratios(fp32, int8).values())
    time = prod(ratios) ** (1 / len(ratios)) if ratios else 1.0
    return time * int8.size_bytes / fp32.size_bytes


def _time_ratios(fp32: OnnxFile, int8: OnnxFile) -> dict[int, float]:
    """int8's median over that of fp32, by batch size."""
    if fp32.latency is None or int8.latency is None:
        return {}
    slow = {batch.batch_size: batch.median_ms for batch in fp32.latency.batches}
    return {
        batch.batch_size: batch.median_ms / slow[batch.batch_size]
        for batch in int8.latency.batches
        if slow.get(batch.batch_size)
    }


def _measured(
    name: str, file: bytes, score: float, batches: list[BatchLatency], trial: ExportTrial
) -> OnnxFile:
    latency = Latency(runtime="onnxruntime", threads=1, batches=batches) if trial.spec.latency_s else None
    return OnnxFile(
        file=ONNX if name == "fp32" else INT8,
        size_bytes=len(file),
        metric=cast(MetricName, trial.measure.name),
        val=score,
        latency=latency,
    )


def _score(session: OnnxSession, trial: ExportTrial) -> float:
    """The figure of its answers to all inputs.

    Raises:
        FloatingPointError: One is not finite.
    """
    largest = session(np.ascontiguousarray(trial.inputs[:1])).nbytes
    rows = max(1, min(rows_at_a_time(_BATCH, trial.inputs.shape[1:]), _ANSWER_BYTES // largest))
    starts = range(0, len(trial.inputs), rows)
    batches = (np.ascontiguousarray(trial.inputs[start : start + rows]) for start in starts)
    return trial.score(session(batch) for batch in batches)
