"""Concluding a comparison whose arms were run elsewhere: no data are read, nothing is trained."""

from __future__ import annotations

import time
from pathlib import Path

from fdkd_core.atomic_files import sha256_file
from fdkd_core.errors import Problem, SpecError
from fdkd_core.events import EventLog, EventSink
from fdkd_core.spec import AnyJobSpec, CompareSpec, spec_sha256
from fdkd_core.spec.result import Result
from fdkd_core.studies.arm_results import read_arm_results, resolved_spec
from fdkd_core.studies.conclusion import conclude
from fdkd_core.studies.report import write_comparison
from fdkd_core.workspace import Workspace


def run_elsewhere(spec: AnyJobSpec, arms_path: Path, out_dir: Path, on_event: EventSink) -> Result:
    """Writes report and result of a comparison from the results of its arms (`studies.arm_results`).

    Raises:
        SpecError: The spec is no comparison, or the file does not fit it.
        StorageError: The disk is full or refuses to write.
    """
    started = time.monotonic()
    if not isinstance(spec, CompareSpec):
        raise SpecError(
            Problem("not_allowed", f"found {spec.kind}; results of arms are for a comparison", "/kind")
        )
    found = read_arm_results(arms_path, spec)
    spec = resolved_spec(spec, found)
    identity = {"spec": spec_sha256(spec), "data": found.data_sha256, "arms": sha256_file(arms_path)}
    workspace = Workspace(out_dir)
    workspace.claim(identity, spec.model_dump(mode="json"))
    try:
        finished = workspace.finished_result()
        if finished is not None:
            on_event({"event": "run_finished", "result": finished.model_dump(mode="json")})
            return finished
        log = EventLog(workspace.events_path, on_event)
        log.emit(
            "run_started",
            name=spec.name,
            kind=spec.kind,
            spec_sha256=identity["spec"],
            data_sha256=identity["data"],
            device="cpu",
            threads=1,
            phases=[],
        )
        log.emit("phase_started", phase="finalise", step=0, total_steps=0, resumed=False)
        result = conclude(
            spec,
            found.outcomes(),
            found.shared_teacher,
            identity=identity,
            seconds=found.seconds + time.monotonic() - started,
        )
        write_comparison(workspace.report_path, result)
        workspace.finish(result)
        log.emit("run_finished", result=result.model_dump(mode="json"))
        return result
    finally:
        workspace.close()
