"""The kind `compare`, in one process: the teacher once, then one study after the other, then the table.

Each arm works in a folder of its own, `arms/LABEL/`, like a study that was run alone; a service runs the same
arms as jobs of their own and concludes with `studies.elsewhere`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from fdkd_core.atomic_files import storage_errors
from fdkd_core.bundle import ModelCard
from fdkd_core.bundle.folder import WEIGHTS
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import IncompatibleError, TrainingDivergedError
from fdkd_core.job_run import JobRun
from fdkd_core.models.weights import load_weights
from fdkd_core.phases import Trained, make_model
from fdkd_core.preparation import make_phase
from fdkd_core.spec import AnyJobSpec, CompareSpec, StudySpec, spec_sha256
from fdkd_core.spec.compare import NO_TEACHER, arms
from fdkd_core.spec.result import CompareResult, ModelResult, StudyResult
from fdkd_core.studies.conclusion import Outcome, conclude
from fdkd_core.studies.handover import finalisation, measure_teacher, study_card, with_latencies
from fdkd_core.studies.outcomes import Outcomes
from fdkd_core.studies.report import write_comparison
from fdkd_core.studies.study import conduct, final_names, student_steps, teacher_plan, trial_names
from fdkd_core.teacher_cache import SharedOutputs
from fdkd_core.versions import library_versions
from fdkd_core.workspace import Workspace


def run_compare(job: JobRun) -> CompareResult:
    """Runs all arms and compares them. An arm that diverges has no figures; the others go on.

    Raises:
        TrainingDivergedError: The control did: there is nothing to compare with.
    """
    spec = job.spec
    assert isinstance(spec, CompareSpec)
    teacher, steps = job.teacher()
    measured = measure_teacher(job, teacher)
    if teacher.epochs > 0:
        assert measured is not None
        _write_teacher(job, teacher, measured)
    job = replace(job, shared=SharedOutputs(teacher, job.data))
    studies = arms(spec, None)
    outcomes: dict[str, Outcome] = {}
    for index, (label, study) in enumerate(studies.items()):
        job.log.emit("arm_started", arm=arm_prefix(index), label=label, number=index + 1, total=len(studies))
        outcomes[label] = _run_arm(job, index, label, study, teacher, measured, steps)
        steps += (study.tuning.trials + study.seeds) * student_steps(study, job.data)
    job.log.emit("phase_started", phase="finalise", step=0, total_steps=0, resumed=False)
    result = conclude(
        spec,
        outcomes,
        measured,
        identity=job.identity,
        seconds=time.monotonic() - job.started,
        bundle="student",
    )
    if result.best is not None:
        result = _write_best(job, studies[result.best], outcomes[result.best], teacher, result)
    write_comparison(job.workspace.report_path, result)
    job.workspace.finish(result)
    return result


def plan_compare(spec: AnyJobSpec, data: PairedDataset, *, is_teacher_given: bool) -> list[dict[str, Any]]:
    """Name and number of steps of each training of all arms."""
    assert isinstance(spec, CompareSpec)
    steps = student_steps(spec, data)
    planned = [
        {"name": arm_prefix(index) + name, "total_steps": steps}
        for index, study in enumerate(arms(spec, None).values())
        for name in (*trial_names(study), *final_names(study.seeds))
    ]
    return planned if is_teacher_given else [teacher_plan(spec, data), *planned]


def arm_prefix(index: int) -> str:
    """Before the names of an arm's phases, which are at most 16 characters long."""
    return f"arm{index}-"


def arm_folder(label: str) -> str:
    """Name of an arm's folder."""
    return label.replace(" ", "-").replace("#", "-")


def _run_arm(
    job: JobRun,
    index: int,
    label: str,
    study: StudySpec,
    teacher: Trained,
    measured: ModelResult | None,
    steps_before: int,
) -> Outcome:
    workspace = Workspace(job.workspace.folder / "arms" / arm_folder(label))
    failed = Outcomes(job.workspace).read(f"{arm_prefix(index)}failed")
    if failed is not None:
        _free(workspace, job)
        return str(failed["error"])
    identity = {**job.identity, "spec": spec_sha256(study), "teacher": measured and measured.weights_sha256}
    with storage_errors():
        workspace.folder.parent.mkdir(exist_ok=True)
    # Within a folder that is locked already; a lock of its own would be carried into the next attempt's.
    workspace.claim(identity, study.model_dump(mode="json"), lock=False)
    finished = workspace.finished_result()
    if isinstance(finished, StudyResult):
        return finished
    part = replace(
        job,
        spec=study,
        workspace=workspace,
        identity=identity,
        started=time.monotonic(),
        phase_prefix=arm_prefix(index),
    )
    try:
        result = conduct(part, teacher, measured, steps_before)
    except (TrainingDivergedError, IncompatibleError) as error:
        if label == NO_TEACHER:
            raise
        reason = f"{error.code}: {error}"
        job.log.emit("warning", message=f"{label} has no figures: {reason}")
        Outcomes(job.workspace).write(
            f"{arm_prefix(index)}failed", {"error": reason}, checkpoints=arm_prefix(index)
        )
        _free(workspace, job)
        return reason
    _free(workspace, job)
    return result


def _free(workspace: Workspace, job: JobRun) -> None:
    """Of an arm that is over, one way or the other; its outcome is written by now."""
    if not job.options.keep_checkpoints:
        workspace.remove_checkpoints()


def _write_best(
    job: JobRun, study: StudySpec, found: Outcome, teacher: Trained, result: CompareResult
) -> CompareResult:
    """Hands over the student of an arm, exported for serving; adds to the result what that showed."""
    assert isinstance(found, StudyResult)
    phase = make_phase("student", study.student, study.training)
    model = make_model(phase, job.data)
    load_weights(job.workspace.folder / "arms" / arm_folder(study.name) / found.bundle / WEIGHTS, model)
    model.to(job.device).eval()
    student = Trained(
        phase.modality, phase.architecture, model, found.student.epochs, found.student.best_epoch, 0.0
    )
    final = finalisation(job)
    figures, measured = with_latencies(final, student, found.student, teacher, result.teacher)
    found = found.model_copy(update={"student": figures, "teacher": found.teacher and measured})
    card = study_card(study, found, data_report=job.data.report, identity=job.identity)
    export = final.write_bundle("student", student, card, was_handed_over=True).export
    return result.model_copy(update={"teacher": measured, "export": export})


def _write_teacher(job: JobRun, teacher: Trained, measured: ModelResult) -> None:
    card = ModelCard(
        spec=job.spec.model_dump(mode="json"),
        results={"teacher": measured},
        data_report=job.data.report,
        identity=job.identity,
        versions=library_versions(),
    )
    finalisation(job).write_bundle("teacher", teacher, card)
