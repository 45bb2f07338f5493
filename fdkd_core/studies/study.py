"""The kind `study`: trials of one method on validation, then final runs of the best one with fresh seeds.

teacher (trained or given) -> trials -> final runs -> the best of them is handed over
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fdkd_core.data.batches import steps_per_epoch
from fdkd_core.data.table import PairedDataset
from fdkd_core.job_run import JobRun
from fdkd_core.models.base import ModelOutput
from fdkd_core.phases import Trained, make_model
from fdkd_core.preparation import make_phase, teacher_training
from fdkd_core.single_run import taught_rows
from fdkd_core.spec import AnyJobSpec, NoneSpec, StudySpec, TeachingSpec, TrainingSpec
from fdkd_core.spec.judging import reported_by, selected_by
from fdkd_core.spec.result import FinalRun, ModelResult, StudyResult, Trial
from fdkd_core.studies.choice import Choice, choose
from fdkd_core.studies.handover import hand_over_study, measure_teacher
from fdkd_core.studies.search import Candidate, candidates
from fdkd_core.studies.trainings import (
    Lesson,
    best_run,
    load_final,
    run_final,
    run_trial,
    validation_groups,
    values_of,
)
from fdkd_core.teacher_views import permuted, shuffled

FAKES: dict[str, Callable[..., ModelOutput]] = {"shuffled_pairs": shuffled, "permuted_channels": permuted}
"""Teacher views that are changed outputs of the real teacher."""


def run_study(job: JobRun) -> StudyResult:
    """Tunes and repeats the method of a job; writes bundles, report and result.

    Raises:
        TrainingDivergedError: All trials diverged, or a final run did.
    """
    assert isinstance(job.spec, StudySpec)
    teacher, measured, steps = None, None, 0
    if not isinstance(job.spec.method, NoneSpec):
        teacher, steps = job.teacher()
        measured = measure_teacher(job, teacher)
    return conduct(job, teacher, measured, steps)


def conduct(
    job: JobRun, teacher: Trained | None, measured: ModelResult | None, steps_before: int
) -> StudyResult:
    """A study whose teacher is there.

    Args:
        job: The study; a part of a comparison has a workspace of its own.
        teacher: Frozen; None for a method without one.
        measured: Its figures.
        steps_before: For the job's progress.
    """
    spec = job.spec
    assert isinstance(spec, StudySpec)
    lesson = prepare_lesson(job, teacher)
    found = candidates(spec.training, spec.method, spec.tuning, spec.task)
    steps = student_steps(spec, job.data)
    names = trial_names(spec)
    select_by = selected_by(spec.training, spec.task)
    trials = [
        run_trial(
            lesson, name, candidate, candidate.training, steps_before + index * steps, shares_of=select_by
        )
        for index, (name, candidate) in enumerate(zip(names, found, strict=True))
    ]
    choice = _choice(lesson, trials, names, select_by)
    tuned = found[choice.index]
    runs = final_runs(lesson, tuned, spec.seeds, steps_before + len(trials) * steps)
    best = best_run(runs, select_by)
    student = load_final(lesson, final_names(spec.seeds)[best], tuned, runs[best])
    if not job.phase_prefix:
        job.log.emit("phase_started", phase="finalise", step=0, total_steps=0, resumed=False)
    return hand_over_study(
        job,
        tuned=tuned,
        why=choice.reason,
        trials=trials,
        runs=runs,
        shares=[lesson.outcomes.read_shares(name) for name in final_names(spec.seeds)],
        student=student,
        teacher=teacher,
        measured=measured,
        taught=[] if lesson.rows is None else [taught_rows("teacher", lesson.rows, job)],
    )


def _choice(lesson: Lesson, trials: list[Trial], names: list[str], select_by: str) -> Choice:
    """Which trial is trained anew.

    Raises:
        TrainingDivergedError: All trials diverged.
    """
    spec, outcomes = lesson.job.spec, lesson.outcomes
    assert isinstance(spec, StudySpec)
    kept = [outcomes.read_shares(name) for name in names]
    return choose(
        values_of(lesson, trials, names, select_by),
        {index: shares for index, shares in enumerate(kept) if shares is not None},
        validation_groups(lesson.job.data),
        select_by,
        best=spec.tuning.choose == "best",
    )


def prepare_lesson(job: JobRun, teacher: Trained | None) -> Lesson:
    """What the trainings of a study see of the teacher: the real one, or what its `teacher_view` says."""
    spec = job.spec
    assert isinstance(spec, StudySpec)
    if teacher is None or isinstance(spec.method, NoneSpec):
        return Lesson(job)
    if spec.teacher_view == "untrained_teacher":
        teacher = _untrained(job, teacher)
    fake = None
    if spec.teacher_view in FAKES:
        fake = partial(FAKES[spec.teacher_view], seed=spec.training.seed)
    return Lesson(job, teacher, job.teacher_rows(teacher, fake=fake))


def _untrained(job: JobRun, teacher: Trained) -> Trained:
    """The teacher's network with initial weights."""
    spec = job.spec
    assert isinstance(spec, StudySpec)
    # The comparison's seed: how a given teacher was trained is not known.
    phase = make_phase("teacher", spec.teacher, spec.training)
    model = make_model(phase, job.data).to(job.device).eval()
    model.requires_grad_(False)
    return Trained(teacher.modality, teacher.architecture, model, 0, 0, 0.0)


def final_runs(lesson: Lesson, tuned: Candidate, seeds: int, steps_before: int) -> list[FinalRun]:
    """All final runs; only the weights of the best one are kept."""
    spec = lesson.job.spec
    select_by = selected_by(spec.training, spec.task)
    steps = student_steps(spec, lesson.job.data)
    names = final_names(seeds)
    runs: list[FinalRun] = []
    for index, name in enumerate(names):
        runs.append(
            run_final(
                lesson,
                name,
                tuned,
                spec.training.seed + index + 1,
                steps_before + index * steps,
                shares_of=reported_by(spec.training, spec.task).name,
            )
        )
        best = best_run(runs, select_by)
        for other in names[: len(runs)]:
            if other != names[best]:
                lesson.outcomes.drop_weights(other)
    return runs


def trial_names(spec: StudySpec) -> list[str]:
    """Phases of the trials."""
    return [f"trial-{number}" for number in range(spec.tuning.trials)]


def final_names(seeds: int) -> list[str]:
    """Phases of the final runs."""
    return [f"seed-{number}" for number in range(1, seeds + 1)]


def student_steps(spec: AnyJobSpec, data: PairedDataset) -> int:
    """Steps of one training of the student, unless it stops early."""
    return phase_steps(spec.training, len(data.taught_rows))


def teacher_plan(spec: TeachingSpec, data: PairedDataset) -> dict[str, Any]:
    """The phase that trains the teacher."""
    return {
        "name": "teacher",
        "total_steps": phase_steps(teacher_training(spec), len(data.training_rows(spec.teacher.modality))),
    }


def phase_steps(training: TrainingSpec, num_rows: int) -> int:
    """Steps of one training on so many rows."""
    return training.epochs * steps_per_epoch(num_rows, training.batch_size)


def plan_study(spec: AnyJobSpec, data: PairedDataset, *, is_teacher_given: bool) -> list[dict[str, Any]]:
    """Name and number of steps of each training."""
    assert isinstance(spec, StudySpec)
    steps = student_steps(spec, data)
    planned = [
        {"name": name, "total_steps": steps} for name in (*trial_names(spec), *final_names(spec.seeds))
    ]
    if is_teacher_given or isinstance(spec.method, NoneSpec):
        return planned
    return [teacher_plan(spec, data), *planned]
