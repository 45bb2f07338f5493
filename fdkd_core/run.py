"""The single entry point: from a spec and data to a student bundle, resumable at any moment.

data -> teacher (trained or given) -> student -> control -> test, once -> bundle -> result.json
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fdkd_core.data.batches import steps_per_epoch
from fdkd_core.data.table import PairedDataset
from fdkd_core.events import EventLog, EventSink
from fdkd_core.finalisation import Finalisation
from fdkd_core.memory_limit import memory_errors
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.options import RunOptions, prepare_torch
from fdkd_core.phases import ModelRole, Phase, Trained, run_phase
from fdkd_core.preparation import (
    check_fit,
    check_phases,
    given_teacher,
    load_data,
    make_phase,
    resolve_spec,
    teacher_training,
)
from fdkd_core.spec import (
    DistillSpec,
    NoneSpec,
    TrainSpec,
    spec_sha256,
)
from fdkd_core.spec.result import RunResult
from fdkd_core.teachers import GivenTeacher
from fdkd_core.training.evaluation import predict_rows
from fdkd_core.workspace import Workspace

DEFAULT_OPTIONS = RunOptions()


@memory_errors()
def run(
    spec: DistillSpec | TrainSpec,
    data_path: Path,
    out_dir: Path,
    *,
    options: RunOptions = DEFAULT_OPTIONS,
    on_event: EventSink = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Runs a job, or continues it where an earlier attempt in the same folder stopped.

    Args:
        spec: What to do.
        data_path: The paired data: a folder, archive, .npz or parquet file.
        out_dir: See `fdkd_core.workspace`. A finished run is not done again.
        options: Where and with what to work.
        on_event: Told of everything that happens; see `fdkd_core.events`.
        should_stop: Asked before every step; True saves a checkpoint and ends the run.

    Returns:
        What `result.json` says.

    Raises:
        InputError: Spec, data or weights cannot be used. Nothing was trained.
        TrainingDivergedError: A loss term stopped being finite.
        TrainingInterrupted: `should_stop` said so.
        CheckpointError: The folder's checkpoints are not this run's.
        StorageError: The disk is full or refuses to write.
        OutOfMemoryError: The machine or the GPU has no memory left.
    """
    started = time.monotonic()
    device, threads = prepare_torch(options)
    given = given_teacher(spec, options)
    data = load_data(spec, data_path, given, options)
    spec = resolve_spec(spec, data, given)
    check_fit(spec, data, given, device)
    given_model = given.load(data, spec.teacher.modality) if given and isinstance(spec, DistillSpec) else None
    check_phases(spec, data, given_model, device)

    workspace = Workspace(out_dir)
    identity = {
        "spec": spec_sha256(spec),
        "data": data.sha256,
        "teacher": given.sha256 if given else None,
    }
    workspace.claim(identity, spec.model_dump(mode="json"))
    try:
        finished = workspace.finished_result()
        if finished is not None:
            workspace.remove_checkpoints()
            on_event({"event": "run_finished", "result": finished.model_dump(mode="json")})
            return finished
        workspace.write_data_report(data.report)
        log = EventLog(workspace.events_path, on_event)
        log.emit(
            "run_started",
            name=spec.name,
            kind=spec.kind,
            spec_sha256=identity["spec"],
            data_sha256=data.sha256,
            device=str(device),
            threads=threads,
            phases=_planned_phases(spec, given, len(data.splits["train"])),
        )
        log.emit("data_loaded", report=data.report)
        job = _Job(spec, data, workspace, log, should_stop, device, options.checkpoint_secret, identity)
        trained = job.train(given_model)
        log.emit("phase_started", phase="finalise", step=0, total_steps=0, resumed=False)
        final = Finalisation(spec, data, workspace, device, identity)
        result = final.finish(trained, threads=threads, started=started)
        if not options.keep_checkpoints:
            workspace.remove_checkpoints()
        log.emit("run_finished", result=result.model_dump(mode="json"))
        return result
    finally:
        workspace.close()


@dataclass(frozen=True)
class _Job:
    spec: DistillSpec | TrainSpec
    data: PairedDataset
    workspace: Workspace
    log: EventLog
    should_stop: Callable[[], bool]
    device: torch.device
    secret: bytes | None
    identity: dict[str, Any]

    def train(self, given: Backbone | None) -> dict[ModelRole, Trained]:
        """All models of the job by role: `student`, and `teacher` and `control` where the job has them."""
        spec = self.spec
        if isinstance(spec, TrainSpec):
            return {"student": self._run(make_phase("student", spec.student, spec.training), 0)[0]}
        steps = 0
        if given is None:
            teacher, steps = self._run(make_phase("teacher", spec.teacher, teacher_training(spec)), steps)
        else:
            given.to(self.device).eval()
            assert spec.teacher.architecture is not None  # filled in by resolve_spec
            teacher = Trained(spec.teacher.modality, spec.teacher.architecture, given, 0, 0, 0.0)
        teacher.model.requires_grad_(False)
        distilled = make_phase(
            "student", spec.student, spec.training, spec.method, self._teacher_outputs(teacher, spec)
        )
        trained: dict[ModelRole, Trained] = {"teacher": teacher}
        trained["student"], student_steps = self._run(distilled, steps)
        if _has_control(spec):
            control = make_phase("control", spec.student, spec.training)
            trained["control"], _ = self._run(control, steps + student_steps)
        return trained

    def _run(self, phase: Phase, steps_before: int) -> tuple[Trained, int]:
        return run_phase(
            phase,
            self.data,
            checkpoints=self.workspace.checkpoints(phase.name),
            key=hashlib.sha256(repr(sorted(self.identity.items())).encode()).hexdigest(),
            log=self.log,
            should_stop=self.should_stop,
            device=self.device,
            steps_before=steps_before,
            secret=self.secret,
        )

    def _teacher_outputs(self, teacher: Trained, spec: DistillSpec) -> ModelOutput | None:
        if isinstance(spec.method, NoneSpec):
            return None
        modality = self.data.modalities[teacher.modality]
        return predict_rows(teacher.model, modality, self.data.splits["train"], self.device)


def _planned_phases(
    spec: DistillSpec | TrainSpec, given: GivenTeacher | None, num_rows: int
) -> list[dict[str, Any]]:
    """Name and number of steps of each training phase, by which progress is counted."""
    planned = [("student", spec.training)]
    if isinstance(spec, DistillSpec):
        if given is None:
            planned.insert(0, ("teacher", teacher_training(spec)))
        if _has_control(spec):
            planned.append(("control", spec.training))
    return [
        {"name": name, "total_steps": training.epochs * steps_per_epoch(num_rows, training.batch_size)}
        for name, training in planned
    ]


def _has_control(spec: DistillSpec) -> bool:
    # Without distillation the student is its own control.
    return spec.controls.no_teacher and not isinstance(spec.method, NoneSpec)
