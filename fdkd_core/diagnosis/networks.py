"""The two networks whose features are looked at: given, trained with a small budget, or left untrained."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray

from fdkd_core.data.batches import steps_per_epoch
from fdkd_core.data.table import PairedDataset
from fdkd_core.diagnosis.sample import Rows, Sample
from fdkd_core.errors import IncompatibleError, Problem, TrainingDivergedError
from fdkd_core.events import StepAverages
from fdkd_core.job_run import JobRun
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.models.cost import multiply_adds
from fdkd_core.phases import Trained, make_model, make_trainee
from fdkd_core.preparation import make_phase, teacher_training
from fdkd_core.spec import StudentSpec, TeacherSpec, TeachingSpec, TrainingSpec
from fdkd_core.spec.figures import figure
from fdkd_core.spec.findings import NetworkFindings, Part
from fdkd_core.tasks import task_of
from fdkd_core.training.evaluation import answer_rows, predict_rows
from fdkd_core.training.loop import Hooks, LoopState, fit
from fdkd_core.training.randomness import seed_torch

MAX_STEPS = 300
"""Optimiser steps of one network: what small ones need to be most of the way."""
MIN_STEPS = 60
"""With fewer the features are still mostly those of the initial weights."""
MULTIPLY_ADDS = {"cpu": 1e12, "cuda": 1e14}
"""Most that one training may cost, forward and backward: some twenty seconds. Counted, not timed, so that
equal diagnoses do equal things."""
_BACKWARD = 3
"""Forward and backward, in forwards."""


@dataclass(frozen=True)
class Network:
    """A network in eval mode, and what it can do."""

    trained: Trained
    how: NetworkFindings
    answers: NDArray[Any]
    """To the rows of `Sample.validated`, as the task keeps them."""

    @property
    def model(self) -> Backbone:
        """The network itself."""
        return self.trained.model


@dataclass(frozen=True)
class Budget:
    """How long a network is trained here."""

    epochs: int
    steps: int
    batch_size: int


def make_network(job: JobRun, sample: Sample, part: Part, steps_before: int) -> Network:
    """The network of one part of the job, on the job's device.

    Args:
        job: The run.
        sample: Its rows.
        part: `teacher` or `student`.
        steps_before: Of the phases before, for the job's progress.

    Raises:
        TrainingInterrupted: `should_stop` said so.
    """
    spec = job.spec
    assert isinstance(spec, TeachingSpec)
    if part == "teacher" and job.given is not None:
        teacher, _ = job.teacher()
        return _describe(job, sample, part, teacher, "given", "It was given, and is taken as it is.", 0, 0)
    stated: StudentSpec | TeacherSpec = spec.teacher if part == "teacher" else spec.student
    training = teacher_training(spec) if part == "teacher" else spec.training
    phase = make_phase(part, stated, training)
    model = make_model(phase, job.data).to(job.device)
    num_rows = len(job.data.training_rows(phase.modality))
    shape = tuple(job.data.modalities[phase.modality].recipe["input_shape"])
    per_step = _BACKWARD * training.batch_size * max(1, multiply_adds(model, shape))
    affordable_steps = int(MULTIPLY_ADDS[job.device.type] // per_step)
    budget = plan_training(training, len(sample.fit), num_rows, affordable_steps)
    if budget is None:
        trained = Trained(phase.modality, phase.architecture, model.eval().requires_grad_(False), 0, 0, 0.0)
        why = (
            f"It is too large to be trained here ({per_step / 1e9:,.1f} billion multiply-adds a step): its "
            "features are those of its initial weights, and linear probes stand in for it."
        )
        return _describe(job, sample, part, trained, "untrained", why, 0, 0)
    try:
        trained = _train(job, sample, part, stated, training, budget, steps_before)
    except TrainingDivergedError as error:
        trained = Trained(phase.modality, phase.architecture, model.eval().requires_grad_(False), 0, 0, 0.0)
        why = (
            f"Its training diverged ({str(error).rstrip('.')}): its features are those of its initial "
            "weights, and linear probes stand in for it."
        )
        return _describe(job, sample, part, trained, "untrained", why, 0, 0, diverged=True)
    why = (
        f"It was trained here for {budget.epochs} epochs, {budget.steps} steps, on {len(sample.fit)} of "
        f"{num_rows} training rows."
    )
    return _describe(job, sample, part, trained, "trained", why, budget.epochs, budget.steps)


def plan_training(
    training: TrainingSpec, num_fit: int, num_train: int, affordable_steps: int
) -> Budget | None:
    """The budget of a training here, never more than the job itself would spend; None when it is too dear.

    Args:
        training: As in the spec.
        num_fit: Rows to learn from.
        num_train: Rows that the job would have.
        affordable_steps: Steps that may be paid for.
    """
    batch_size = min(training.batch_size, num_fit)
    per_epoch = steps_per_epoch(num_fit, batch_size)
    wanted = min(MAX_STEPS, training.epochs * steps_per_epoch(num_train, training.batch_size))
    # Less than an epoch is never done: rows that were not seen would be held to have been learned from.
    if affordable_steps < max(min(MIN_STEPS, wanted), per_epoch):
        return None
    epochs = max(1, min(wanted, affordable_steps) // per_epoch)
    return Budget(epochs, epochs * per_epoch, batch_size)


def planned_steps(training: TrainingSpec, num_train: int, num_pairs: int, max_samples: int) -> int:
    """Most steps that a training here may take, before anything is known of its cost.

    Args:
        training: As in the spec.
        num_train: Rows that the job would have.
        num_pairs: Training rows that the sample is drawn from.
        max_samples: Most rows to learn from.
    """
    fit = min(max_samples, max(2, num_pairs - num_pairs // 3))
    found = plan_training(training, fit, num_train, sys.maxsize)
    return found.steps if found is not None else 0


def _train(
    job: JobRun,
    sample: Sample,
    part: Part,
    stated: StudentSpec | TeacherSpec,
    training: TrainingSpec,
    budget: Budget,
    steps_before: int,
) -> Trained:
    data: PairedDataset = replace(
        job.data, splits={"train": sample.fit, "val": sample.validated, "test": job.data.splits["test"]}
    )
    training = training.model_copy(
        update={"epochs": budget.epochs, "batch_size": budget.batch_size, "patience_epochs": None}
    )
    trainee = make_trainee(make_phase(part, stated, training), data, job.device)
    seed_torch(training.seed, "dropout")
    averages = StepAverages(
        job.log,
        part,
        steps_per_epoch=trainee.batches.steps_per_epoch,
        total_steps=trainee.total_steps,
        before=steps_before,
    )
    told = 0

    def on_checkpoint(state: LoopState, must: bool) -> None:
        nonlocal told
        for record in state.history[told:]:
            job.log.emit("epoch", phase=part, best_epoch=state.best_epoch, **record)
        told = len(state.history)

    state = fit(trainee, LoopState(), Hooks(averages.add, job.should_stop, on_checkpoint))
    trainee.model.load_state_dict(state.best_weights)
    trainee.model.eval().requires_grad_(False)
    assert stated.architecture is not None  # filled in by resolve_spec
    return Trained(
        stated.modality, stated.architecture, trainee.model, budget.epochs, state.best_epoch, state.seconds
    )


def _describe(
    job: JobRun,
    sample: Sample,
    part: Part,
    trained: Trained,
    how: str,
    why: str,
    epochs: int,
    steps: int,
    *,
    diverged: bool = False,
) -> Network:
    data, task, rows = job.data, task_of(job.data), sample.validated
    seen = data.modalities[trained.modality]
    answers = answer_rows(trained.model, seen, rows, data.labels, task, job.device, as_served=how != "given")
    figures = {}
    if how != "untrained":
        try:
            found = task.metrics(answers, data.labels[rows])
        except FloatingPointError:  # what was trained here has been looked at by its training
            detail = "the given teacher answers validation rows with numbers that are not finite"
            raise IncompatibleError(Problem("incompatible", detail, "/teacher")) from None
        figures = {name: figure(found, name) for name in task.facts.metrics}
    findings = NetworkFindings.model_validate(
        {
            "part": part,
            "modality": trained.modality,
            "how": how,
            "why": why,
            "diverged": diverged,
            "epochs": epochs,
            "steps": steps,
            "accuracy": figures.get("accuracy"),
            "macro_f1": figures.get("macro_f1"),
            "figures": figures,
        }
    )
    return Network(trained, findings, answers)


def outputs_of(network: Network, data: PairedDataset, rows: Rows, device: torch.device) -> ModelOutput:
    """Features and logits of some rows."""
    return predict_rows(network.model, data.modalities[network.trained.modality], rows, device)
