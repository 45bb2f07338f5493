"""The kinds `distill` and `train`: one model is handed over.

teachers (trained or given) -> student -> control -> test, once -> bundles -> result
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fdkd_core.data.batches import steps_per_epoch
from fdkd_core.data.table import PairedDataset
from fdkd_core.data.unlabelled import as_trained
from fdkd_core.finalisation import Finalisation
from fdkd_core.job_run import JobRun
from fdkd_core.phases import FurtherTeacher, Phase, Trained
from fdkd_core.preparation import make_phase, training_of
from fdkd_core.spec import AnyJobSpec, AutoSpec, DistillSpec, NoneSpec, StudySpec, TrainSpec, teacher_name
from fdkd_core.spec.figures import figure
from fdkd_core.spec.result import RunResult, TaughtRows
from fdkd_core.spec.tasks import facts_of
from fdkd_core.tasks import task_of
from fdkd_core.teacher_views import TeacherRows, confidence_weights


def run_single(job: JobRun) -> RunResult:
    """Trains the models of the job, reads the test split, and writes bundles and result.

    Raises:
        GateFailedError: See `Finalisation.finish`.
    """
    assert isinstance(job.spec, DistillSpec | TrainSpec)
    trained, taught = _train(job)
    job.log.emit("phase_started", phase="finalise", step=0, total_steps=0, resumed=False)
    final = Finalisation(job.spec, job.data, job.workspace, job.device, job.identity, job.warn)
    result = final.finish(trained, taught, threads=job.threads, started=job.started, processes=job.processes)
    warn_of_gates(job, result)
    warn_of_chance(job, result)
    warn_of_answers(job, result)
    return result


def warn_of_answers(job: JobRun, result: RunResult) -> None:
    """Says where rows without a label were taught by a teacher that knows less than the control."""
    rows = max((taught.unlabelled_rows for taught in result.taught), default=0)
    if not rows or result.teacher is None or result.control is None:
        return
    main = facts_of(job.spec.task).main
    teacher, control = (figure(model.val, main.name) for model in (result.teacher, result.control))
    if main.signed(teacher) < main.signed(control):
        known = (
            f"{main.text(teacher, unit=True)} {main.words} and the control {main.text(control, unit=True)}"
        )
        taught = f"by its answers to {rows:,} rows without a label it teaches its errors"
        job.log.emit("warning", message=f"on validation the teacher has {known}: {taught}")


def warn_of_gates(job: JobRun, result: RunResult) -> None:
    """Says of each gate that only warns that the student did not pass it."""
    for gate in result.gates:
        if not gate.passed:
            job.log.emit("warning", message=gate.sentence)


def warn_of_chance(job: JobRun, result: RunResult) -> None:
    """Says where the student does no better than who looks at no sample."""
    if result.uplift is not None and result.uplift.chance is not None and result.uplift.chance.warning:
        job.log.emit("warning", message=result.uplift.chance.warning)


def plan_single(spec: AnyJobSpec, data: PairedDataset, *, is_teacher_given: bool) -> list[dict[str, Any]]:
    """Name and number of steps of each training phase, by which progress is counted."""
    assert isinstance(spec, DistillSpec | TrainSpec)
    planned = [("student", len(data.training_rows(spec.student.modality)), spec.training)]
    if isinstance(spec, DistillSpec):
        planned = [("student", len(data.taught_rows), spec.training)]
        planned[:0] = [
            (teacher_name(index), len(data.training_rows(teacher.modality)), training_of(teacher, spec.task))
            for index, teacher in enumerate(spec.teachers)
            if teacher.is_trained
        ]
        if _has_control(spec):
            planned.append(("control", len(data.taught_rows), spec.training))
    return [
        {
            "name": name,
            "total_steps": training.epochs * steps_per_epoch(num_rows, training.batch_size),
        }
        for name, num_rows, training in planned
    ]


def _train(job: JobRun) -> tuple[dict[str, Trained], list[TaughtRows]]:
    """All models of the job by role, and which rows were taught.

    The roles are `student`, and `teacher` and `control` where the job has them.
    """
    spec = job.spec
    if isinstance(spec, TrainSpec):
        return {
            "student": job.run_phase(make_phase("student", spec.student, spec.training, start=job.start), 0)[
                0
            ]
        }, []
    assert isinstance(spec, DistillSpec)
    trained: dict[str, Trained] = {}
    steps = 0
    for index in range(len(spec.teachers)):
        trained[teacher_name(index)], own_steps = job.teacher(index, steps_before=steps)
        steps += own_steps
    assert not isinstance(spec.method, AutoSpec)  # a runner of its own
    student = make_phase("student", spec.student, spec.training, spec.method, start=job.start, is_evened=True)
    rows = {}
    if not isinstance(spec.method, NoneSpec):
        rows = {name: job.teacher_rows(teacher) for name, teacher in trained.items()}
        student = _taught(student, job, spec, trained, rows)
    trained["student"], student_steps = job.run_phase(student, steps)
    if _has_control(spec):
        control = make_phase("control", spec.student, spec.training, start=job.start, is_evened=True)
        trained["control"], _ = job.run_phase(control, steps + student_steps)
    return trained, [taught_rows(name, found, job) for name, found in rows.items()]


def _taught(
    student: Phase,
    job: JobRun,
    spec: DistillSpec,
    teachers: Mapping[str, Trained],
    rows: Mapping[str, TeacherRows],
) -> Phase:
    """The student's phase with all its teachers, by name."""
    (first, teacher), *others = teachers.items()
    weights = None
    if others and spec.teacher_weighting == "confidence":
        weights = _by_confidence(job, spec, list(rows.values()))
    return replace(
        student,
        teacher_outputs=rows[first].outputs,
        paired=rows[first].paired,
        answers=rows[first].answers,
        teacher=teacher,
        more_teachers=tuple(
            FurtherTeacher(name, found, rows[name], further.weight)
            for (name, found), further in zip(others, spec.more_teachers, strict=True)
        ),
        row_weights=weights,
    )


def _by_confidence(job: JobRun, spec: DistillSpec, rows: Sequence[TeacherRows]) -> Tensor:
    """Row weights of all teachers, shape [teachers, rows]; one whose weight is 0 takes no share of them."""
    speaks = torch.tensor([True, *(further.weight > 0.0 for further in spec.more_teachers)])
    heard = [found for found, does in zip(rows, speaks.tolist(), strict=True) if does]
    seen = [as_trained(job.data, found.answers, is_evened=False) for found in heard]
    labels = [torch.from_numpy(data.labels[data.splits["train"]]) for data in seen]
    weights = confidence_weights(heard, labels, task_of(job.data))
    found = weights.new_zeros(len(rows), weights.shape[1])
    found[speaks] = weights
    return found


def taught_rows(teacher: str, rows: TeacherRows, job: JobRun) -> TaughtRows:
    """How many training rows a teacher spoke about."""
    assert isinstance(job.spec, DistillSpec | StudySpec)
    return TaughtRows(
        teacher=teacher,
        pairing=job.spec.pairing,
        paired_rows=rows.num_pairs,
        training_rows=len(job.data.taught_rows),
        unlabelled_rows=len(job.data.unlabelled),
        untaught_rows=0 if rows.paired is None else int((~rows.paired).sum()),
    )


def _has_control(spec: DistillSpec) -> bool:
    # Without distillation the student is its own control.
    return spec.controls.no_teacher and not isinstance(spec.method, NoneSpec)
