"""One phase of a run: train one model, resuming from its checkpoint where there is one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.data.batches import TrainingBatches, clean_inputs
from fdkd_core.data.table import PairedDataset
from fdkd_core.data.unlabelled import as_trained
from fdkd_core.errors import IncompatibleError, Problem
from fdkd_core.events import EventLog, StepAverages
from fdkd_core.memory_layout import use_fast_layout
from fdkd_core.methods import build_method
from fdkd_core.methods.base import Method, MethodContext
from fdkd_core.methods.several_teachers import SeveralTeachers
from fdkd_core.models import build_model
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.spec import ArchitectureSpec, MethodSpec, NoneSpec, TrainingSpec
from fdkd_core.spec.execution import ExecutionReport
from fdkd_core.starting_weights import StartingWeights
from fdkd_core.tasks import task_of
from fdkd_core.teacher_views import TeacherRows
from fdkd_core.training.checkpoint import CheckpointStore
from fdkd_core.training.evaluation import evaluate_model
from fdkd_core.training.execution import apply_execution, choose_execution
from fdkd_core.training.loop import (
    Hooks,
    Lesson,
    LoopState,
    StepMetrics,
    TeacherInputs,
    Trainee,
    fit,
    make_optimizer,
)
from fdkd_core.training.randomness import seed_torch

if TYPE_CHECKING:
    from fdkd_core.ranks.crew_process import Crew

NO_DISTILLATION = NoneSpec()


@dataclass(frozen=True)
class Phase:
    """What one phase trains, and how."""

    name: str
    """A role, or what else tells the phases of a job apart, at most 16 characters."""
    modality: str
    architecture: ArchitectureSpec
    pointer: str
    """Where the architecture stands in the spec."""
    training: TrainingSpec
    method: MethodSpec = NO_DISTILLATION
    teacher_outputs: ModelOutput | None = None
    """Of the training rows; None without a teacher."""
    paired: Tensor | None = None
    """Which training rows have a view of the teacher; None when all have."""
    teacher: Trained | None = None
    """The teacher itself, for methods that train it further."""
    more_teachers: tuple[FurtherTeacher, ...] = ()
    """Beside the first, if there are several."""
    start: StartingWeights | None = None
    """What to begin with instead of random weights."""
    answers: NDArray[Any] | None = None
    """The teacher's, as labels of the task, of each taught row: rows without a label are trained on too."""
    is_evened: bool = False
    """A student without a teacher takes as many steps as one that is taught the rows without a label."""
    row_weights: Tensor | None = None
    """[teachers, N]: how much each training row counts with each teacher, the first one first; None for 1."""


@dataclass(frozen=True)
class FurtherTeacher:
    """A teacher beside the first."""

    name: str
    """Its phase, which its terms are called by."""
    teacher: Trained | None
    """The teacher itself, for methods that train it further."""
    rows: TeacherRows
    weight: float
    """Factor of all its terms."""


def is_teacher(name: str) -> bool:
    """Whether a phase, or a role, is that of a teacher."""
    return name.startswith("teacher")


@dataclass(frozen=True)
class Trained:
    """A model with the weights that validation picked."""

    modality: str
    architecture: ArchitectureSpec | None
    """None of a teacher that is an ONNX file."""
    model: Backbone
    epochs: int
    best_epoch: int
    seconds: float
    execution: ExecutionReport | None = None
    """How its training steps were computed; None of a model that was not trained here."""


def make_model(phase: Phase, data: PairedDataset) -> Backbone:
    """The phase's network with its seeded or given initial weights: the same for a student and its control.

    Raises:
        IncompatibleError: The architecture cannot take the modality.
        ModelFileError: The given weights do not fit.
    """
    seed_torch(phase.training.seed, "weights")
    recipe = data.modalities[phase.modality].recipe
    model = build_model(
        phase.architecture,
        tuple(recipe["input_shape"]),
        len(data.outputs),
        data.vocab_size(phase.modality),
        pointer=phase.pointer,
    )
    if phase.start is not None:
        phase.start.load_into(model, data.outputs if data.targets is None else [])
    return model


def make_trainee(phase: Phase, data: PairedDataset, device: torch.device) -> Trainee:
    """Builds model, method, optimiser and batches of a phase.

    Raises:
        IncompatibleError: Architecture, method, batch size and data do not fit together.
    """
    data = as_trained(data, phase.answers, is_evened=phase.is_evened)
    training, rows = phase.training, data.training_rows(phase.modality)
    if len(rows) < training.batch_size:
        raise IncompatibleError(
            Problem(
                "dataset_too_small",
                f"batches of {training.batch_size} need at least as many training rows; found {len(rows)}",
                phase.pointer.replace("architecture", "train/batch_size")
                if is_teacher(phase.name)
                else "/training/batch_size",
            )
        )
    model, task = make_model(phase, data), task_of(data)
    seed_torch(training.seed, "method")

    def build(outputs: ModelOutput | None, paired: Tensor | None, teacher: Trained | None) -> Method:
        context = MethodContext(
            student_dim=model.feature_dim,
            teacher_dim=outputs.features.shape[1] if outputs else model.feature_dim,
            num_classes=len(data.outputs),
            teacher_outputs=outputs,
            # No method looks at all masks at once, and their copy would be large.
            labels=None if data.labels.ndim == 3 else torch.from_numpy(data.labels[rows]),
            num_rows=len(rows),
            teacher_model=teacher.model if teacher else None,
            seed=training.seed,
            paired=paired,
            task=task,
        )
        return build_method(phase.method, context)

    try:
        method = build(phase.teacher_outputs, phase.paired, phase.teacher)
        if phase.more_teachers:
            further = [
                build(found.rows.outputs, found.rows.paired, found.teacher) for found in phase.more_teachers
            ]
            names, weights = zip(*((found.name, found.weight) for found in phase.more_teachers), strict=True)
            method = SeveralTeachers(["", *names], [1.0, *weights], [method, *further])
    except ValueError as error:
        raise IncompatibleError(Problem("incompatible", str(error), "/method")) from None
    model.to(device)
    use_fast_layout(model, device)
    method.to(device)

    def inputs_of(teacher: Trained | None) -> TeacherInputs | None:
        if teacher is None or not method.needs_teacher_inputs:
            return None
        modality, all_rows = data.modalities[teacher.modality], data.splits["train"]
        return lambda positions: clean_inputs(modality, all_rows[positions])

    return Trainee(
        model=model,
        task=task,
        method=method,
        optimizer=make_optimizer(model, method, training),
        spec=training,
        batches=TrainingBatches(
            data.modalities[phase.modality],
            data.labels,
            rows,
            batch_size=training.batch_size,
            seed=training.seed,
            augment=training.augment,
            rows_together=task.rows_together,
        ),
        validate=lambda: evaluate_model(model, data, phase.modality, "val", device)[0],
        teacher_outputs=phase.teacher_outputs,
        device=device,
        paired=phase.paired,
        teacher_inputs=inputs_of(phase.teacher),
        row_weights=None if phase.row_weights is None else phase.row_weights[0],
        more_lessons=tuple(
            Lesson(
                found.rows.outputs,
                found.rows.paired,
                inputs_of(found.teacher),
                None if phase.row_weights is None else phase.row_weights[index],
            )
            for index, found in enumerate(phase.more_teachers, start=1)
        ),
    )


def run_phase(
    phase: Phase,
    data: PairedDataset,
    *,
    checkpoints: Path,
    key: str,
    log: EventLog,
    should_stop: Callable[[], bool],
    device: torch.device,
    steps_before: int,
    secret: bytes | None = None,
    crew: Crew | None = None,
    executions: dict[str, ExecutionReport] | None = None,
) -> tuple[Trained, int]:
    """Trains a phase to its end; a phase that already ended is only loaded.

    Args:
        phase: What to train.
        data: The dataset.
        checkpoints: Folder for this phase's checkpoints.
        key: Identity of the run, which binds the checkpoints to it.
        log: Told of everything.
        should_stop: Asked before every step.
        device: Where to train.
        steps_before: Steps of the phases before this one, for the job's progress.
        secret: Signs the checkpoints; see `CheckpointStore`.
        crew: Other processes to train with; None trains alone.
        executions: What was found out in earlier phases of the job, which equal trainings share; added to.

    Returns:
        The trained model, and the number of steps of this phase.
    """
    trainee = make_trainee(phase, data, device)
    store = CheckpointStore(
        checkpoints, f"{key}/{phase.name}", secret=secret, warn=lambda text: log.emit("warning", message=text)
    )
    seed_torch(phase.training.seed, "dropout")
    state = store.restore(trainee)
    if state.execution is None:
        known = executions if executions is not None else {}
        state.execution = _execution(phase, trainee, data, known, processes=crew.size if crew else 1)
    apply_execution(trainee, state.execution.chosen)
    log.emit(
        "phase_started",
        phase=phase.name,
        step=state.step,
        total_steps=trainee.total_steps,
        resumed=state.step > 0,
        execution=state.execution.model_dump(mode="json"),
    )
    averages = StepAverages(
        log,
        phase.name,
        steps_per_epoch=trainee.batches.steps_per_epoch,
        total_steps=trainee.total_steps,
        before=steps_before,
    )
    epochs_told = len(state.history)

    def on_metrics(metrics: StepMetrics) -> None:
        averages.add(metrics)

    def on_checkpoint(state: LoopState, must: bool) -> None:
        nonlocal epochs_told
        for record in state.history[epochs_told:]:
            log.emit("epoch", phase=phase.name, best_epoch=state.best_epoch, **record)
        epochs_told = len(state.history)
        if store.save_if_due(trainee, state, must=must):
            log.emit("checkpoint", phase=phase.name, step=state.step)

    is_over = state.step >= trainee.total_steps or state.stopped_early
    with nullcontext() if crew is None or is_over else crew.train(phase, data, trainee, state):
        state = fit(trainee, state, Hooks(on_metrics, should_stop, on_checkpoint))
    trainee.model.load_state_dict(state.best_weights)
    trainee.model.eval()
    log.emit(
        "phase_finished",
        phase=phase.name,
        epochs=len(state.history),
        best_epoch=state.best_epoch,
        stopped_early=state.stopped_early,
        seconds=state.seconds,
    )
    trained = Trained(
        phase.modality,
        phase.architecture,
        trainee.model,
        epochs=len(state.history),
        best_epoch=state.best_epoch,
        seconds=state.seconds,
        execution=state.execution,
    )
    return trained, trainee.total_steps


def _execution(
    phase: Phase, trainee: Trainee, data: PairedDataset, known: dict[str, ExecutionReport], *, processes: int
) -> ExecutionReport:
    """How the phase is computed; the student and its control in the same way."""
    training = phase.training
    rows = training.batch_size // processes
    asked = (phase.modality, phase.architecture, rows, training.precision, training.compile)
    if repr(asked) not in known:
        tried = replace(
            phase, training=training.model_copy(update={"batch_size": rows}), method=NO_DISTILLATION,
            teacher_outputs=None, paired=None, more_teachers=(), row_weights=None, answers=None,
            is_evened=True,
        )  # fmt: skip
        known[repr(asked)] = choose_execution(
            trainee, lambda: make_trainee(tried, data, trainee.device), processes=processes
        )
    return known[repr(asked)]
