"""The kinds `distill` and `train`: one model is handed over.

teacher (trained or given) -> student -> control -> test, once -> bundles -> result
"""

from __future__ import annotations

from typing import Any

from fdkd_core.data.batches import steps_per_epoch
from fdkd_core.data.table import PairedDataset
from fdkd_core.finalisation import Finalisation
from fdkd_core.job_run import JobRun
from fdkd_core.phases import Trained
from fdkd_core.preparation import make_phase, teacher_training
from fdkd_core.spec import AnyJobSpec, AutoSpec, DistillSpec, NoneSpec, TrainSpec
from fdkd_core.spec.result import RunResult, TaughtRows
from fdkd_core.teacher_views import TeacherRows


def run_single(job: JobRun) -> RunResult:
    """Trains the models of the job, reads the test split, and writes bundles and result.

    Raises:
        GateFailedError: See `Finalisation.finish`.
    """
    assert isinstance(job.spec, DistillSpec | TrainSpec)
    trained, taught = _train(job)
    job.log.emit("phase_started", phase="finalise", step=0, total_steps=0, resumed=False)
    final = Finalisation(job.spec, job.data, job.workspace, job.device, job.identity)
    result = final.finish(trained, taught, threads=job.threads, started=job.started)
    warn_of_gates(job, result)
    return result


def warn_of_gates(job: JobRun, result: RunResult) -> None:
    """Says of each gate that only warns that the student did not pass it."""
    for gate in result.gates:
        if not gate.passed:
            job.log.emit("warning", message=gate.sentence)


def plan_single(spec: AnyJobSpec, data: PairedDataset, *, is_teacher_given: bool) -> list[dict[str, Any]]:
    """Name and number of steps of each training phase, by which progress is counted."""
    assert isinstance(spec, DistillSpec | TrainSpec)
    planned = [("student", spec.student.modality, spec.training)]
    if isinstance(spec, DistillSpec):
        if not is_teacher_given:
            planned.insert(0, ("teacher", spec.teacher.modality, teacher_training(spec)))
        if _has_control(spec):
            planned.append(("control", spec.student.modality, spec.training))
    return [
        {
            "name": name,
            "total_steps": training.epochs
            * steps_per_epoch(len(data.training_rows(modality)), training.batch_size),
        }
        for name, modality, training in planned
    ]


def _train(job: JobRun) -> tuple[dict[str, Trained], list[TaughtRows]]:
    """All models of the job by role, and which rows were taught.

    The roles are `student`, and `teacher` and `control` where the job has them.
    """
    spec = job.spec
    if isinstance(spec, TrainSpec):
        return {"student": job.run_phase(make_phase("student", spec.student, spec.training), 0)[0]}, []
    assert isinstance(spec, DistillSpec)
    assert not isinstance(spec.method, AutoSpec)  # a runner of its own
    teacher, steps = job.teacher()
    trained: dict[str, Trained] = {"teacher": teacher}
    rows = None if isinstance(spec.method, NoneSpec) else job.teacher_rows(teacher)
    distilled = make_phase(
        "student",
        spec.student,
        spec.training,
        spec.method,
        None if rows is None else rows.outputs,
        teacher,
        None if rows is None else rows.paired,
    )
    trained["student"], student_steps = job.run_phase(distilled, steps)
    if _has_control(spec):
        control = make_phase("control", spec.student, spec.training)
        trained["control"], _ = job.run_phase(control, steps + student_steps)
    taught = [] if rows is None else [taught_rows("teacher", rows, job)]
    return trained, taught


def taught_rows(teacher: str, rows: TeacherRows, job: JobRun) -> TaughtRows:
    """How many training rows a teacher spoke about."""
    assert isinstance(job.spec, DistillSpec)
    return TaughtRows(
        teacher=teacher,
        pairing=job.spec.pairing,
        paired_rows=rows.num_pairs,
        training_rows=len(job.data.splits["train"]),
    )


def _has_control(spec: DistillSpec) -> bool:
    # Without distillation the student is its own control.
    return spec.controls.no_teacher and not isinstance(spec.method, NoneSpec)
