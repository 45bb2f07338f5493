"""A whole training of ours, as it is compared with torchdistill's: without importing that."""

from __future__ import annotations

import time

from workload import Workload

from fdkd_core.spec import FDCMKDSpec
from fdkd_core.training.evaluation import predict_rows
from fdkd_core.training.loop import Hooks, LoopState, fit

SILENT = Hooks(lambda metrics: None, lambda: False, lambda state, must: None)


def ours(workload: Workload, student_width: int, epochs: int) -> float:
    """Seconds of ours, the teacher's outputs included."""
    data = workload.data
    teacher = workload.teacher()
    started = time.perf_counter()
    outputs = predict_rows(teacher, data.modalities["image"], data.splits["train"], workload.device)
    trainee = of_width(workload, student_width).trainee("audio", FDCMKDSpec(), outputs)
    trainee.spec = trainee.spec.model_copy(update={"epochs": epochs})
    fit(trainee, LoopState(), SILENT)
    return time.perf_counter() - started


def of_width(workload: Workload, width: int) -> Workload:
    """The same data with networks of another width."""
    other = Workload(width, workload.batch_size, workload.num_batches, workload.device)
    other.__dict__["data"] = workload.data
    return other
