"""What the job would cost: real training steps of each phase, timed here."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from fdkd_core.data.batches import steps_per_epoch
from fdkd_core.data.table import PairedDataset
from fdkd_core.diagnosis.networks import Network
from fdkd_core.diagnosis.sample import Choose, Rows
from fdkd_core.job_run import JobRun
from fdkd_core.phases import Phase, make_trainee
from fdkd_core.preparation import make_phase, teacher_training
from fdkd_core.spec import NoneSpec, TrainingSpec
from fdkd_core.spec.diagnose import DiagnoseSpec
from fdkd_core.spec.findings import PhaseEstimate, SpeedFindings, StepSpeed
from fdkd_core.teacher_views import scattered
from fdkd_core.training.evaluation import predict_rows
from fdkd_core.training.loop import Trainee, train_step

WARM_UP_STEPS = 2
"""The first step allocates, the second may still plan."""
MIN_TIMED_STEPS = 5
MAX_TIMED_STEPS = 30
TIME_S = 2.0
"""Per phase; steps of a slow network still get `MIN_TIMED_STEPS`."""

PhaseName = Literal["teacher", "student", "control"]
EstimateName = Literal["loading", "teacher", "teacher outputs", "student", "control", "testing"]


@dataclass(frozen=True)
class ForwardTime:
    """Seconds per row of a forward pass in eval mode."""

    teacher_s: float
    student_s: float


def measure_speed(
    job: JobRun,
    teacher: Network,
    student: Network,
    loading_s: float,
    choose: Choose,
    rng: np.random.Generator,
) -> SpeedFindings:
    """Times steps of teacher, student with the method, and control; estimates a whole `distill` job.

    Args:
        job: The run.
        teacher: As looked at; its outputs are what the method is shown.
        student: As looked at, for the time of a forward pass; steps are those of a fresh network.
        loading_s: What it took to load the data in this run.
        choose: Of the training rows those that are trained on here.
        rng: Of the rows.

    Raises:
        TrainingInterrupted: Never: it takes seconds.
    """
    spec, data = job.spec, job.data
    assert isinstance(spec, DiagnoseSpec)
    trainings = {"teacher": teacher_training(spec), "student": spec.training, "control": spec.training}
    most = max(spec.max_samples, 2 * max(training.batch_size for training in trainings.values()))
    seen = data.modalities[teacher.trained.modality]
    rows = _timed_rows(data, spec, choose, most, rng)
    has = seen.has(rows)
    present = torch.from_numpy(has)
    small: PairedDataset = replace(data, splits={**data.splits, "train": rows})

    started = time.monotonic()
    outputs = predict_rows(teacher.model, seen, rows[has], job.device)
    teacher_s = (time.monotonic() - started) / len(outputs.features)
    outputs = scattered(outputs, present)
    started = time.monotonic()
    predict_rows(student.model, data.modalities[student.trained.modality], rows, job.device)
    forward = ForwardTime(teacher_s, (time.monotonic() - started) / len(rows))

    phases: dict[PhaseName, Phase] = {}
    if job.given is None:
        phases["teacher"] = make_phase("teacher", spec.teacher, trainings["teacher"])
    if isinstance(spec.method, NoneSpec):
        phases["student"] = make_phase("student", spec.student, spec.training)  # its own control
    else:
        paired = None if bool(present.all()) else present
        phases["student"] = make_phase(
            "student", spec.student, spec.training, spec.method, outputs, teacher.trained, paired
        )
        phases["control"] = make_phase("control", spec.student, spec.training)
    memory = _MemoryPeak(job.device)
    steps = [
        _time_steps(name, make_trainee(phase, small, job.device), job.device)
        for name, phase in phases.items()
    ]
    peak_bytes, growth_bytes = memory.read()
    by_phase = {found.phase: found for found in steps}
    overhead = by_phase["student"].step_s / by_phase["control"].step_s if "control" in by_phase else None
    estimate = [
        PhaseEstimate(phase=name, seconds=seconds)
        for name, seconds in estimate_job(spec, data, by_phase, trainings, forward, loading_s).items()
    ]
    return SpeedFindings(
        steps=steps,
        method_overhead=overhead,
        memory="gpu" if job.device.type == "cuda" else "process",
        peak_bytes=peak_bytes,
        growth_bytes=growth_bytes,
        estimate=estimate,
        total_s=sum(found.seconds for found in estimate),
    )


def _timed_rows(
    data: PairedDataset, spec: DiagnoseSpec, choose: Choose, most: int, rng: np.random.Generator
) -> Rows:
    """Pairs, and other rows of the student only where pairs are too few for a batch of its own.

    So a step is timed with the method at work on every row: at most what it takes in the job.
    """
    pairs = data.training_rows(spec.teacher.modality, spec.student.modality)
    rows = choose(pairs, most, rng)
    if len(rows) >= spec.training.batch_size:
        return rows
    others = np.setdiff1d(data.training_rows(spec.student.modality), pairs)
    return np.sort(np.concatenate([rows, choose(others, most - len(rows), rng)]))


def _time_steps(name: PhaseName, trainee: Trainee, device: torch.device) -> StepSpeed:
    trainee.model.train()
    batch_s: list[float] = []
    step_s: list[float] = []
    began = time.monotonic()
    number = 0
    while number < WARM_UP_STEPS + MIN_TIMED_STEPS or (
        number < WARM_UP_STEPS + MAX_TIMED_STEPS and time.monotonic() - began < TIME_S
    ):
        started = time.perf_counter()
        batch = trainee.batches.batch(number)
        made = time.perf_counter()
        # At rate 0 no weight moves, so that no spec can diverge here.
        train_step(trainee, batch, lr=0.0, step=number % trainee.total_steps)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number == WARM_UP_STEPS:
            batch_s, step_s = [], []
        batch_s.append(made - started)
        step_s.append(time.perf_counter() - made)
        number += 1
    for_batch, for_step = float(np.median(batch_s)), float(np.median(step_s))
    return StepSpeed(
        phase=name,
        batch_size=trainee.spec.batch_size,
        timed_steps=len(step_s),
        steps_per_s=1.0 / seconds_per_step(for_batch, for_step, device),
        batch_s=for_batch,
        step_s=for_step,
    )


def seconds_per_step(batch_s: float, step_s: float, device: torch.device) -> float:
    """The loop makes the next batch meanwhile: free on a GPU, while on a CPU the two share the cores."""
    return max(batch_s, step_s, 1e-9) if device.type == "cuda" else batch_s + step_s


def estimate_job(
    spec: DiagnoseSpec,
    data: PairedDataset,
    steps: dict[PhaseName, StepSpeed],
    trainings: dict[str, TrainingSpec],
    forward: ForwardTime,
    loading_s: float,
) -> dict[EstimateName, float]:
    """Seconds of each part of the job: all epochs with their validation, and what is done once.

    Args:
        spec: The diagnosis.
        data: All rows of the job.
        steps: As timed; without `teacher` where one is given, without `control` where there is no method.
        trainings: Of each phase.
        forward: Of a row.
        loading_s: Of the data.
    """
    rows = {split: len(found) for split, found in data.splits.items()}
    seen, taught = data.modalities[spec.teacher.modality], data.taught_rows
    seconds: dict[EstimateName, float] = {"loading": loading_s}
    per_row: dict[PhaseName, float] = {
        "teacher": forward.teacher_s,
        "student": forward.student_s,
        "control": forward.student_s,
    }
    order: tuple[PhaseName, ...] = ("teacher", "student", "control")
    for name in order:
        if name == "student" and "control" in steps:
            seconds["teacher outputs"] = int(seen.has(taught).sum()) * forward.teacher_s
        if name not in steps:
            continue
        training = trainings[name]
        num_steps = training.epochs * steps_per_epoch(
            len(data.training_rows(spec.teacher.modality) if name == "teacher" else taught),
            training.batch_size,
        )
        seconds[name] = num_steps / steps[name].steps_per_s
        seconds[name] += training.epochs * rows["val"] * per_row[name]
    seconds["testing"] = (rows["val"] + rows["test"]) * sum(per_row[name] for name in {"teacher", *steps})
    return seconds


class _MemoryPeak:
    """The highest memory from now on: of the GPU, or of this process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
            return
        _try(lambda: Path("/proc/self/clear_refs").write_text("5"))  # the kernel forgets the peak so far
        self._before = _status_bytes("VmRSS") or _lifetime_peak()

    def read(self) -> tuple[int, int]:
        """Peak, and how far it lies above where it began; in bytes."""
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
        else:
            peak = _status_bytes("VmHWM") or _lifetime_peak()
        return peak, max(0, peak - self._before)


def _try(action: Callable[[], object]) -> None:
    """Some kernels refuse; then the peak is that of the whole life of the process."""
    try:
        action()
    except OSError:
        return


def _status_bytes(name: str) -> int | None:
    """A line of /proc/self/status; None where there is no such file."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
    except OSError:
        return None
    return None


def _lifetime_peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
