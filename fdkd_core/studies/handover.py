"""After the trainings of a study: figures, bundles, report and result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from fdkd_core.bundle import ModelCard
from fdkd_core.errors import TrainingDivergedError
from fdkd_core.finalisation import NOT_FINITE, Finalisation
from fdkd_core.job_run import JobRun
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.phases import Trained
from fdkd_core.spec import MethodSpec, NoneSpec, StudySpec
from fdkd_core.spec.judging import reported_by, selected_by
from fdkd_core.spec.measures import MEASURES, MetricName
from fdkd_core.spec.result import FinalRun, ModelResult, StudyResult, TaughtRows, Trial
from fdkd_core.studies.expectation import expected_test
from fdkd_core.studies.report import parameters_text, with_interval, write_trials
from fdkd_core.studies.row_blocks import row_blocks
from fdkd_core.studies.search import Candidate, with_lr
from fdkd_core.studies.trainings import best_run, evaluate, row_groups
from fdkd_core.tasks import task_of
from fdkd_core.tasks.blind import Blind
from fdkd_core.versions import library_versions

_METHOD: TypeAdapter[MethodSpec] = TypeAdapter(MethodSpec)


def finalisation(job: JobRun) -> Finalisation:
    """What writes bundles of this job."""
    return Finalisation(job.spec, job.data, job.workspace, job.device, job.identity, job.warn)


def measure_teacher(job: JobRun, teacher: Trained) -> ModelResult | None:
    """Figures of the teacher, whose test split is read once here; None where nobody can know them."""
    if isinstance(teacher.model, RecordedTeacher) and not teacher.model.num_logits:
        return None
    try:
        val, test = evaluate(job, teacher, "val"), evaluate(job, teacher, "test")
    except TrainingDivergedError:
        if teacher.epochs:
            raise
        job.warn(NOT_FINITE)
        return None
    return finalisation(job).model_result(teacher, val=val, test=test)


def hand_over_study(
    job: JobRun,
    *,
    tuned: Candidate,
    why: str,
    trials: list[Trial],
    runs: list[FinalRun],
    student: Trained,
    teacher: Trained | None,
    measured: ModelResult | None,
    taught: list[TaughtRows],
    shares: Sequence[NDArray[np.float64] | None],
) -> StudyResult:
    """Writes bundles, report and result of a study.

    Args:
        job: The study.
        tuned: The candidate of the final runs.
        why: It was chosen: a sentence.
        trials: All of them.
        runs: The final runs.
        student: The model of the final run that is best on validation.
        teacher: None for a method without one.
        measured: Figures of the teacher.
        taught: How many rows it taught; empty without one.
        shares: Of each final run, what every test row adds to the reported figure; None of a run that an
            earlier release did.
    """
    spec = job.spec
    assert isinstance(spec, StudySpec)
    final = finalisation(job)
    best = runs[best_run(runs, selected_by(spec.training, spec.task))]
    # A comparison writes the teacher itself, and exports the student of its best arm alone.
    is_arm = bool(job.phase_prefix)
    teacher_is_ours = teacher is not None and teacher.epochs > 0 and not is_arm
    figures = final.model_result(student, val=best.val, test=best.test)
    if not is_arm:
        figures, measured = with_latencies(final, student, figures, teacher, measured)
    chance = _chance(final)
    kept = [found for found in shares if found is not None]
    rows = (
        row_blocks(np.stack(kept), chance.shares, row_groups(job.data, "test"))
        if len(kept) == len(runs)
        else None
    )
    metric = cast(MetricName, reported_by(spec.training, spec.task).name)
    test, intervals = expected_test(runs, metric, rows)
    found = StudyResult(
        kind="study",
        name=spec.name,
        spec_sha256=job.identity["spec"],
        data_sha256=job.data.sha256,
        classes=len(job.data.classes),
        method=tuned.method.model_dump(mode="json"),
        lr=tuned.lr,
        parameters=tuned.parameters,
        chosen=why,
        teacher_view=spec.teacher_view,
        select_by=selected_by(spec.training, spec.task),
        chance=chance.value,
        taught=taught,
        trials=trials,
        runs=runs,
        test_rows=rows,
        metric=metric,
        test=test,
        intervals=intervals,
        teacher=measured,
        student=figures,
        bundle="student",
        teacher_bundle="teacher" if teacher_is_ours else None,
        versions=library_versions(),
        device=str(job.device),
        threads=job.threads,
        processes=job.processes,
        seconds=time.monotonic() - job.started,
    )
    card = study_card(spec, found, data_report=job.data.report, identity=job.identity)
    export = final.write_bundle("student", student, card, with_onnx=not is_arm).export
    found = found.model_copy(update={"export": export})
    if teacher_is_ours:
        assert teacher is not None
        final.write_bundle("teacher", teacher, card)
    write_trials(job.workspace.report_path, found)
    job.workspace.finish(found)
    return found


def _chance(final: Finalisation) -> Blind:
    """Who looks at no sample of the test split, in the reported figure."""
    assert isinstance(final.spec, StudySpec)
    metric = cast(MetricName, reported_by(final.spec.training, final.spec.task).name)
    labels = final.data.labels[final.data.splits["test"]]
    return task_of(final.data).chance(metric, final.some_labels(), labels)


def with_latencies(
    final: Finalisation,
    student: Trained,
    figures: ModelResult,
    teacher: Trained | None,
    measured: ModelResult | None,
) -> tuple[ModelResult, ModelResult | None]:
    """Figures of student and teacher with the times that both take, measured in turns."""
    models = {"student": student} if teacher is None else {"student": student, "teacher": teacher}
    found = final.latencies(models)
    figures = figures.model_copy(update={"latency": found.get("student")})
    return figures, measured and measured.model_copy(update={"latency": found.get("teacher")})


def study_card(
    spec: StudySpec, found: StudyResult, *, data_report: dict[str, Any], identity: dict[str, Any]
) -> ModelCard:
    """Facts on the student of a study."""
    method = _METHOD.validate_python(found.method, strict=False)
    seed = found.runs[best_run(found.runs, found.select_by)].seed
    training = with_lr(spec.training, found.lr).model_copy(update={"seed": seed})
    as_tuned = spec.model_copy(update={"method": method, "training": training})
    return ModelCard(
        spec=as_tuned.model_dump(mode="json"),
        results={"student": found.student}
        if found.teacher is None
        else {"student": found.student, "teacher": found.teacher},
        taught=found.taught,
        data_report=data_report,
        identity=identity,
        versions=found.versions,
        chosen=_chosen(method, found, seed),
    )


def _chosen(method: MethodSpec, found: StudyResult, seed: int) -> str:
    """How this model came to be the one, for its card."""
    values = parameters_text({"lr": found.lr, **found.parameters})
    teacher = "without a teacher" if isinstance(method, NoneSpec) else f"with {method.name}"
    if found.teacher_view != "paired":
        teacher += f" and {found.teacher_view.replace('_', ' ')} instead of the real teacher, as a control"
    assert found.metric is not None
    assert found.test is not None
    main = MEASURES[found.metric]
    expected = with_interval(found.test, main, found.intervals)
    runs = (
        f"one seed, {seed}. Its test {main.words} is {expected}; one run does not tell how far another would "
        "be from it."
        if len(found.runs) == 1
        else f"{len(found.runs)} seeds; this is the run with seed {seed}, the best of them on validation. "
        f"Over all seeds, test {main.words} is {expected}: expect that of another training like it."
    )
    tuned = (
        f"Its only trial has {values}."
        if len(found.trials) == 1
        else f"Of {len(found.trials)} trials one was taken: {values}. {found.chosen}".rstrip()
    )
    return f"Trained {teacher}. {tuned} It was trained anew with {runs}"
