"""The single entry point: from a spec and data to a result, resumable at any moment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from fdkd_core.data.table import PairedDataset
from fdkd_core.diagnosis.diagnose import plan_diagnosis, run_diagnosis
from fdkd_core.errors import FDKDError, GateFailedError
from fdkd_core.events import EventLog, EventSink
from fdkd_core.job_run import JobRun
from fdkd_core.memory_limit import memory_errors
from fdkd_core.options import RunOptions, prepare_torch
from fdkd_core.preparation import (
    check_fit,
    check_phases,
    given_start,
    given_teachers,
    load_data,
    resolve_spec,
)
from fdkd_core.single_run import plan_single, run_single
from fdkd_core.spec import (
    AnyJobSpec,
    AutoSpec,
    CompareSpec,
    DiagnoseSpec,
    DistillSpec,
    StudySpec,
    TrainSpec,
    spec_sha256,
    teacher_name,
)
from fdkd_core.spec.processes import stated_processes
from fdkd_core.spec.result import Result, RunResult
from fdkd_core.studies.auto import run_auto
from fdkd_core.studies.auto_plan import plan_auto
from fdkd_core.studies.compare import plan_compare, run_compare
from fdkd_core.studies.elsewhere import run_elsewhere
from fdkd_core.studies.study import plan_study, run_study
from fdkd_core.uplift import failure_of
from fdkd_core.workspace import Workspace

if TYPE_CHECKING:
    from fdkd_core.ranks.crew_process import Crew

DEFAULT_OPTIONS = RunOptions()


class Plan(Protocol):
    """Name and `total_steps` of each phase that a job will train, by which progress is counted."""

    def __call__(
        self, spec: AnyJobSpec, data: PairedDataset, *, is_teacher_given: bool
    ) -> list[dict[str, Any]]:
        """See `single_run.plan_single`."""


class Runner(NamedTuple):
    """How one kind of job is run."""

    run: Callable[[JobRun], Result]
    """Returns what it has written to result.json."""
    plan: Plan


RUNNERS: dict[type, Runner] = {
    DistillSpec: Runner(run_single, plan_single),
    TrainSpec: Runner(run_single, plan_single),
    StudySpec: Runner(run_study, plan_study),
    CompareSpec: Runner(run_compare, plan_compare),
    DiagnoseSpec: Runner(run_diagnosis, plan_diagnosis),
}
"""The table of kinds: to add one, add a spec to `spec.kinds`, a result to `spec.result`, a file, a line."""
CHOOSING = Runner(run_auto, plan_auto)
"""Of a job that finds out its method itself."""


def runner_of(spec: AnyJobSpec) -> Runner:
    """How a job is run."""
    if isinstance(spec, DistillSpec) and isinstance(spec.method, AutoSpec):
        return CHOOSING
    return RUNNERS[type(spec)]


@memory_errors()
def run(
    spec: AnyJobSpec,
    data_path: Path,
    out_dir: Path,
    *,
    options: RunOptions = DEFAULT_OPTIONS,
    on_event: EventSink = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
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
        GateFailedError: The student did not pass a gate of the spec that it had to. So does every further
            run in the same folder, without training.
    """
    started = time.monotonic()
    if options.arm_results is not None:
        return run_elsewhere(spec, options.arm_results, out_dir, on_event)
    runner = runner_of(spec)
    processes = num_processes(spec, options)
    device, threads = prepare_torch(options, processes)
    given, start = given_teachers(spec, options), given_start(spec, options)
    data = load_data(spec, data_path, given, options, start)
    spec = resolve_spec(spec, data, given, start)
    check_fit(spec, data, given, device, processes)
    models = [None if teacher is None else teacher.load(data) for teacher in given]
    check_phases(spec, data, models, device, start)
    phases = runner.plan(spec, data, is_teacher_given=bool(models) and models[0] is not None)

    workspace = Workspace(out_dir)
    identity = {
        "spec": spec_sha256(spec),
        "data": data.sha256,
        "teacher": None,
    }
    for index, teacher in enumerate(given):
        identity[teacher_name(index)] = teacher.sha256 if teacher else None
    if start is not None:
        identity["start"] = start.sha256
    workspace.claim(identity, spec.model_dump(mode="json"))
    try:
        finished = workspace.finished_result()
        if finished is not None:
            workspace.remove_checkpoints()
            on_event({"event": "run_finished", "result": finished.model_dump(mode="json")})
            return finished
        refused = workspace.refused_result()
        failure = failure_of(refused.gates) if isinstance(refused, RunResult) else None
        if failure is not None:
            workspace.remove_checkpoints()
            raise failure
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
            processes=processes,
            phases=phases,
        )
        log.emit("data_loaded", report=data.report)
        if start is not None:
            log.emit("warning", message=start.account)
        first, *others = models or [None]
        try:
            with _crew(processes, workspace, data, device, threads, on_event) as crew:
                job = JobRun(
                    spec, data, first, workspace, log, should_stop, device, threads, options, identity,
                    started, more_given=tuple(others), start=start, crew=crew,
                )  # fmt: skip
                result = runner.run(job)
        except GateFailedError:
            if not options.keep_checkpoints:
                workspace.remove_checkpoints()
            raise
        if not options.keep_checkpoints:
            workspace.remove_checkpoints()
        log.emit("run_finished", result=result.model_dump(mode="json"))
        return result
    finally:
        workspace.close()


def num_processes(spec: AnyJobSpec, options: RunOptions) -> int:
    """Processes that train each model of the job together."""
    stated = stated_processes(spec)
    return 1 if isinstance(spec, DiagnoseSpec) else options.processes or stated


def _crew(
    processes: int,
    workspace: Workspace,
    data: PairedDataset,
    device: torch.device,
    threads: int,
    on_event: EventSink,
) -> AbstractContextManager[Crew | None]:
    """The other processes of the run; None when there is one alone."""
    if processes == 1:
        return nullcontext()
    from fdkd_core.ranks.crew_process import Crew

    def give_up(error: Exception) -> None:
        # The thread that could say so waits for a rank that is gone.
        if isinstance(error, FDKDError):
            on_event({"event": "run_failed", "code": error.code, "message": str(error)})
        os.write(2, f"{error}\n".encode())
        os._exit(error.exit_code if isinstance(error, FDKDError) else 1)

    return Crew(processes, workspace.checkpoints("ranks"), data, device, threads, give_up)
