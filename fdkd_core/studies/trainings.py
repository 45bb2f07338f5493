"""The two kinds of training of which searches are made: a trial, and a final run with a fresh seed.

Each is a phase with checkpoints of its own, and its outcome is kept: what has ended is not done again.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.table import PairedDataset, Split
from fdkd_core.errors import TrainingDivergedError
from fdkd_core.job_run import JobRun
from fdkd_core.models.weights import load_weights, render_weights
from fdkd_core.phases import Phase, Trained, make_model
from fdkd_core.preparation import make_phase
from fdkd_core.spec import NoneSpec, TeachingSpec, TrainingSpec
from fdkd_core.spec.figures import signed_figure
from fdkd_core.spec.result import FinalRun, SplitMetrics, Trial
from fdkd_core.studies.outcomes import Outcomes
from fdkd_core.studies.row_blocks import RowGroups
from fdkd_core.studies.search import Candidate
from fdkd_core.tasks import task_of
from fdkd_core.teacher_views import TeacherRows
from fdkd_core.training.evaluation import evaluate_model


@dataclass(frozen=True)
class Lesson:
    """What all trainings of a search share: the job, and what is shown of the teacher."""

    job: JobRun
    teacher: Trained | None = None
    rows: TeacherRows | None = None
    """What the teacher says of the training rows; None without one."""

    @property
    def outcomes(self) -> Outcomes:
        """What has ended."""
        return Outcomes(self.job.workspace, keep_checkpoints=self.job.options.keep_checkpoints)

    def phase(self, name: str, candidate: Candidate, training: TrainingSpec) -> Phase:
        """The phase that trains a student by a candidate."""
        spec = self.job.spec
        assert isinstance(spec, TeachingSpec)
        if self.rows is None or isinstance(candidate.method, NoneSpec):
            return make_phase(name, spec.student, training, candidate.method, is_evened=True)
        return make_phase(
            name, spec.student, training, candidate.method, self.rows.outputs, self.teacher, self.rows.paired,
            answers=self.rows.answers,
        )  # fmt: skip


def run_trial(
    lesson: Lesson,
    name: str,
    candidate: Candidate,
    training: TrainingSpec,
    steps_before: int,
    *,
    shares_of: str | None = None,
) -> Trial:
    """Trains a candidate and judges it on the validation split; one that diverges has no figures.

    Args:
        lesson: What it learns from.
        name: Of the phase.
        candidate: What is tried.
        training: As the candidate's, but for the budget.
        steps_before: For the job's progress.
        shares_of: A figure: what each validation row adds to it is kept with the outcome.
    """
    noted = lesson.outcomes.read(name)
    if noted is not None:
        return Trial.model_validate(noted["trial"])
    job, started = lesson.job, time.monotonic()
    diverged = None
    try:
        trained, _ = job.run_phase(lesson.phase(name, candidate, training), steps_before)
        val, answers = _judged(job, trained, "val")
        seconds = trained.seconds
        if shares_of is not None:
            lesson.outcomes.write_shares(name, _shares(job.data, answers, shares_of))
    except TrainingDivergedError as error:
        job.log.emit(
            "warning", message=f"{job.phase_prefix}{name} diverged at step {error.step}: {error.term}"
        )
        val, seconds = None, time.monotonic() - started
        diverged = {"step": error.step, "term": error.term, "value": repr(error.value)}
    trial = Trial(
        number=candidate.number, lr=candidate.lr, parameters=candidate.parameters, val=val, seconds=seconds
    )
    noted = {"trial": trial.model_dump(mode="json"), "diverged": diverged}
    lesson.outcomes.write(name, noted, checkpoints=job.phase_prefix + name)
    return trial


def values_of(lesson: Lesson, trials: list[Trial], names: list[str], select_by: str) -> list[float]:
    """The validation figure of each trial, larger is better; -inf where training diverged.

    Raises:
        TrainingDivergedError: All trials diverged.
    """
    values = [selection_value(trial.val, select_by) for trial in trials]
    if max(values) == -math.inf:
        noted = lesson.outcomes.read(names[0])
        assert noted is not None
        found: dict[str, Any] = noted["diverged"]
        where = f"each of the {len(trials)} trials diverged; in the first, " if len(trials) > 1 else ""
        raise TrainingDivergedError(found["step"], found["term"], float(found["value"]), where=where)
    return values


def run_final(
    lesson: Lesson,
    name: str,
    candidate: Candidate,
    seed: int,
    steps_before: int,
    *,
    shares_of: str | None = None,
) -> FinalRun:
    """Trains a candidate with a fresh seed, then reads the test split once. The weights are kept.

    Args:
        lesson: What it learns from.
        name: Of the phase.
        candidate: What is trained.
        seed: The fresh one.
        steps_before: For the job's progress.
        shares_of: A figure: what each test row adds to it is kept with the outcome.

    Raises:
        TrainingDivergedError: It diverged. Leaving the seed out would make the method look better than it
            is, and no figure can stand for it.
    """
    noted = lesson.outcomes.read(name)
    if noted is not None:
        return FinalRun.model_validate(noted)
    job = lesson.job
    training = candidate.training.model_copy(update={"seed": seed})
    try:
        trained, _ = job.run_phase(lesson.phase(name, candidate, training), steps_before)
        val = evaluate(job, trained, "val")
        test, answers = _judged(job, trained, "test")
    except TrainingDivergedError as error:
        where = f"after tuning, in the run with seed {seed}: "
        raise error.inside(where) from None
    run = FinalRun(
        seed=seed, val=val, test=test, seconds=trained.seconds, epochs=trained.epochs,
        best_epoch=trained.best_epoch, execution=trained.execution,
    )  # fmt: skip
    if shares_of is not None:
        lesson.outcomes.write_shares(name, _shares(job.data, answers, shares_of, "test"))
    lesson.outcomes.write_weights(name, render_weights(trained.model))
    lesson.outcomes.write(name, run.model_dump(mode="json"), checkpoints=job.phase_prefix + name)
    return run


def best_run(runs: list[FinalRun], select_by: str) -> int:
    """Index of the run that is best on validation; the first wins a tie."""
    return max(range(len(runs)), key=lambda index: selection_value(runs[index].val, select_by))


def load_final(lesson: Lesson, name: str, candidate: Candidate, run: FinalRun) -> Trained:
    """The model of a final run."""
    job = lesson.job
    training = candidate.training.model_copy(update={"seed": run.seed})
    phase = lesson.phase(name, candidate, training)
    model = make_model(phase, job.data)
    load_weights(lesson.outcomes.weights_path(name), model)
    model.to(job.device).eval()
    return Trained(
        phase.modality, phase.architecture, model, epochs=run.epochs, best_epoch=run.best_epoch,
        seconds=run.seconds, execution=run.execution,
    )  # fmt: skip


def evaluate(job: JobRun, trained: Trained, split: Split) -> SplitMetrics:
    """Figures of a model on a split.

    Raises:
        TrainingDivergedError: Its scores are not finite.
    """
    return _judged(job, trained, split)[0]


def row_shares(job: JobRun, trained: Trained, select_by: str) -> NDArray[np.float64]:
    """What each validation row adds to the figure that decides, up to a constant; shape [rows].

    Raises:
        TrainingDivergedError: Its scores are not finite.
    """
    return _shares(job.data, _judged(job, trained, "val")[1], select_by)


def row_groups(data: PairedDataset, split: Split) -> RowGroups | None:
    """Which rows of a split succeed or fail together; None where they are independent."""
    groups = data.groups_of(split)
    if groups is not None:
        return RowGroups(groups, "group")
    alike = task_of(data).alike(data.labels[data.splits[split]])
    return None if alike is None else RowGroups(alike, "label")


def validation_groups(data: PairedDataset) -> NDArray[np.int64] | None:
    """Number of each validation row's group; None where they are independent."""
    groups = row_groups(data, "val")
    return None if groups is None else groups.numbers


def selection_value(found: SplitMetrics | None, select_by: str) -> float:
    """The validation figure that decides, larger is better; -inf when training diverged."""
    return -math.inf if found is None else signed_figure(found, select_by)


def _judged(job: JobRun, trained: Trained, split: Split) -> tuple[SplitMetrics, NDArray[Any]]:
    """Figures and answers."""
    try:
        return evaluate_model(trained.model, job.data, trained.modality, split, job.device)
    except FloatingPointError:
        raise TrainingDivergedError(0, split, math.nan) from None


def _shares(
    data: PairedDataset, answers: NDArray[Any], metric: str, split: Split = "val"
) -> NDArray[np.float64]:
    return task_of(data).shares(metric, answers, data.labels[data.splits[split]])
