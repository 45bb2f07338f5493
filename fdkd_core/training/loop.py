"""The training loop: `fit` and `train_step`, and all the state they need."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fdkd_core.data.batches import Batch, TrainingBatches
from fdkd_core.errors import TrainingDivergedError, TrainingInterrupted
from fdkd_core.methods.base import Method, StepViews, rows_of
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.ranks.group import ALONE, STEP, Network, Ranks, SeveralRanks
from fdkd_core.spec import TrainingSpec
from fdkd_core.spec.execution import PLAIN, Execution, ExecutionReport
from fdkd_core.spec.figures import SplitMetrics, figure, signed_figure
from fdkd_core.tasks.base import Task
from fdkd_core.training.optimizer import build_optimizer, set_learning_rate
from fdkd_core.training.schedule import learning_rate


@dataclass
class LoopState:
    """Where the loop is; with weights, optimiser and torch's generator it is all that a resume needs."""

    step: int = 0
    """Optimiser steps taken."""
    best_epoch: int = 0
    """Epoch, from 1, whose weights are kept; 0 before the first validation."""
    best_value: float = -math.inf
    """Its validation figure, larger is better."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    stopped_early: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
    """One record per epoch: epoch, step, and the task's figures and loss on the validation split."""
    seconds: float = 0.0
    """Wall time spent in the loop, over all attempts. Not part of what makes a resume identical."""
    execution: ExecutionReport | None = None
    """How steps are computed, chosen before the first one and kept; None when nothing was chosen yet."""


@dataclass(frozen=True)
class StepMetrics:
    """What one step tells."""

    step: int
    """From 1: steps taken so far."""
    epoch: int
    """From 1."""
    lr: float
    loss: float
    terms: dict[str, float]
    """Mean over samples of each term, before its weight."""
    weighted: dict[str, float]
    """The same after its weight; these add up to `loss`."""
    gradient_norms: dict[str, float] | None
    """L2 norm over the student's parameters of each weighted term's gradient, where asked for."""
    num_samples: int
    wait_s: float
    """Time the step waited for its batch."""


@dataclass(frozen=True)
class Hooks:
    """The three ways in which the outside takes part in the loop."""

    on_metrics: Callable[[StepMetrics], None]
    should_stop: Callable[[], bool]
    """Asked before every step; True saves a checkpoint and raises TrainingInterrupted."""
    on_checkpoint: Callable[[LoopState, bool], None]
    """Asked to save after every step; the flag says that it must (the end, or a stop), not only may."""


TeacherInputs = Callable[[NDArray[np.int64]], NDArray[Any]]
"""From places among the training rows to what the teacher's network takes."""


class Lesson(NamedTuple):
    """What one teacher says about the training rows; see the fields of `Trainee`."""

    outputs: ModelOutput | None
    paired: Tensor | None = None
    inputs: TeacherInputs | None = None
    row_weights: Tensor | None = None


@dataclass
class Trainee:
    """A student (or teacher) in training, and what trains it."""

    model: Backbone
    task: Task
    method: Method
    optimizer: torch.optim.Optimizer
    spec: TrainingSpec
    batches: TrainingBatches
    validate: Callable[[], SplitMetrics]
    teacher_outputs: ModelOutput | None
    """Of the training rows, [N, D] and [N, C]: computed once, because the teacher is frozen and its view of
    a sample is never augmented."""
    device: torch.device
    paired: Tensor | None = None
    """Of the training rows, [N]: which have a view of the teacher; None when all have. The others train the
    task loss alone."""
    teacher_inputs: TeacherInputs | None = None
    """For methods that train the teacher."""
    row_weights: Tensor | None = None
    """Of the training rows, [N]: how much each counts with this teacher; None for 1."""
    more_lessons: tuple[Lesson, ...] = ()
    """Of the teachers beside the first."""
    ranks: Ranks = ALONE
    """The processes that train it together."""
    execution: Execution = PLAIN
    network: Network | None = None
    """What runs the model in training; None for the model itself."""

    def outputs(self, batch: Batch, step: int) -> tuple[ModelOutput, Tensor]:
        """What the model says of a batch, in fp32 whatever it computes in; see `fdkd_core.ranks`.

        Returns:
            The outputs, and the features [B of this process, D] that they come from: all gradients of the
            step pass through those.
        """
        self.ranks.draw_own(self.spec.seed, step)
        inputs = torch.from_numpy(self.ranks.own(batch.inputs)).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.execution.precision == "bf16"):
            found = (self.model if self.network is None else self.network)(inputs)
        in_fp32 = ModelOutput(*(part.float() for part in found))
        return self.ranks.gather(in_fp32, len(batch.inputs)), found.features

    @property
    def lessons(self) -> list[Lesson]:
        """Of all teachers, the first one first."""
        first = Lesson(self.teacher_outputs, self.paired, self.teacher_inputs, self.row_weights)
        return [first, *self.more_lessons]

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, unless it stops early."""
        return self.spec.epochs * self.batches.steps_per_epoch


def make_optimizer(model: nn.Module, method: Method, spec: TrainingSpec) -> torch.optim.Optimizer:
    """One optimiser for the model and the method's own parameters (projector, band classifiers)."""
    return build_optimizer(spec.optimizer, [*model.parameters(), *method.parameters()])


def fit(trainee: Trainee, state: LoopState, hooks: Hooks) -> LoopState:
    """Trains from `state.step` to the end of the last epoch, or until validation stops improving.

    Batch, learning rate and augmentation are functions of the step alone, so that a run resumed from a
    checkpoint continues bit for bit as if it had never stopped (CPU, same thread count).

    Returns:
        The same state; the best epoch's weights are in `state.best_weights`.

    Raises:
        TrainingDivergedError: A loss term is not finite; the step was not taken.
        TrainingInterrupted: `should_stop` said so; a checkpoint was saved.
    """
    spec, steps_per_epoch = trainee.spec, trainee.batches.steps_per_epoch
    with taking_steps(trainee) as loader:
        upcoming = loader.submit(trainee.batches.batch, state.step)
        while state.step < trainee.total_steps and not state.stopped_early:
            if hooks.should_stop():
                hooks.on_checkpoint(state, True)
                raise TrainingInterrupted
            started = time.monotonic()
            batch = upcoming.result()
            wait_s = time.monotonic() - started
            upcoming = loader.submit(trainee.batches.batch, state.step + 1)

            trainee.ranks.begin_step()
            lr = learning_rate(spec.schedule, spec.optimizer.lr, state.step, trainee.total_steps)
            hooks.on_metrics(train_step(trainee, batch, lr=lr, step=state.step, wait_s=wait_s))
            state.step += 1
            if state.step % steps_per_epoch == 0:
                note_validation(state, trainee)
            state.seconds += time.monotonic() - started
            hooks.on_checkpoint(state, False)
    hooks.on_checkpoint(state, True)
    return state


def train_step(trainee: Trainee, batch: Batch, *, lr: float, step: int, wait_s: float = 0.0) -> StepMetrics:
    """One optimiser step. Terms arrive per sample and are averaged here, once, and weighted here, once."""
    device = trainee.device
    labels = torch.from_numpy(batch.labels).to(device)
    student, features = trainee.outputs(batch, step)
    task = trainee.task.loss(student.logits, labels)
    terms = distillation_terms(trainee, batch, student, labels)
    # A row without a teacher counts as one whose distillation terms are zero.
    means = {"task": task.mean()} | {name: term.sum() / len(labels) for name, term in terms.items()}
    values = dict(zip(means, torch.stack(list(means.values())).tolist(), strict=True))
    values = trainee.ranks.agreed(values)
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingDivergedError(step, name, value)

    weights = {"task": 1.0, **term_weights(trainee, means, features, step / trainee.total_steps)}
    weighted = {name: weights[name] * mean for name, mean in means.items()}
    norms = _gradient_norms(trainee.model, weighted) if trainee.spec.log_gradient_norms else None
    trainee.optimizer.zero_grad(set_to_none=True)
    torch.stack(list(weighted.values())).sum().backward()  # type: ignore[no-untyped-call]
    trainee.ranks.average_gradients(trainee.method)
    if trainee.spec.max_grad_norm is not None:
        trained = [parameter for group in trainee.optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(trained, trainee.spec.max_grad_norm)
    set_learning_rate(trainee.optimizer, lr)
    trainee.optimizer.step()
    return StepMetrics(
        step=step + 1,
        epoch=step // trainee.batches.steps_per_epoch + 1,
        lr=lr,
        loss=sum(weights[name] * value for name, value in values.items()),
        terms=values,
        weighted={name: weights[name] * value for name, value in values.items()},
        gradient_norms=norms,
        num_samples=len(batch.labels),
        wait_s=wait_s,
    )


def follow_steps(trainee: Trainee, step: int, ranks: SeveralRanks) -> None:
    """What `fit` is on the other ranks: the same steps, for as long as rank 0 says that there is one.

    Args:
        trainee: As on rank 0.
        step: The first one.
        ranks: Of the trainee.

    Raises:
        TrainingDivergedError: On all ranks in the same step.
    """
    spec = trainee.spec
    with taking_steps(trainee) as loader:
        upcoming = loader.submit(trainee.batches.batch, step)
        while ranks.hear()[0] == STEP:
            batch = upcoming.result()
            upcoming = loader.submit(trainee.batches.batch, step + 1)
            lr = learning_rate(spec.schedule, spec.optimizer.lr, step, trainee.total_steps)
            train_step(trainee, batch, lr=lr, step=step)
            step += 1


@contextmanager
def taking_steps(trainee: Trainee) -> Iterator[ThreadPoolExecutor]:
    """Around a row of steps: the model in training mode, run by all ranks; gives what loads its batches."""
    network = trainee.network
    runs = trainee.model if network is None else network  # not `or`: compiled networks have no truth value

    def sample() -> Tensor:
        return torch.from_numpy(trainee.batches.batch(0).inputs[:2]).to(trainee.device)

    with (
        trainee.ranks.training(trainee.model, runs, sample) as trainee.network,
        ThreadPoolExecutor(1, thread_name_prefix="batches") as loader,
    ):
        trainee.model.train()
        try:
            yield loader
        finally:
            trainee.network = network


def note_validation(state: LoopState, trainee: Trainee) -> None:
    """Validates at the end of an epoch, keeps the best weights, and decides on early stopping.

    Raises:
        TrainingDivergedError: The last steps left weights whose scores are not finite.
    """
    epoch = state.step // trainee.batches.steps_per_epoch
    try:
        found = trainee.validate()
    except FloatingPointError:
        raise TrainingDivergedError(state.step, "val", math.nan) from None
    metrics = trainee.task.facts.metrics
    figures = {name: figure(found, name) for name in (*metrics, "loss")}
    state.history.append({"epoch": epoch, "step": state.step, **figures})
    value = signed_figure(found, trainee.spec.select_by or metrics[0])
    if value > state.best_value:
        state.best_value, state.best_epoch = value, epoch
        state.best_weights = {
            name: tensor.detach().cpu().clone() for name, tensor in trainee.model.state_dict().items()
        }
    patience = trainee.spec.patience_epochs
    state.stopped_early = patience is not None and epoch - state.best_epoch >= patience


def distillation_terms(
    trainee: Trainee, batch: Batch, student: ModelOutput, labels: Tensor
) -> dict[str, Tensor]:
    """The method's terms for the rows of the batch that have a teacher's view; zero where no row has one."""
    views = [_views(lesson, batch, student, labels) for lesson in trainee.lessons]
    terms = trainee.method.teach(views)
    zero = torch.zeros(1, device=trainee.device)
    return terms | {name: zero for name in trainee.method.weights if name not in terms}


def term_weights(
    trainee: Trainee, means: dict[str, Tensor], features: Tensor, progress: float
) -> dict[str, float]:
    """Factors of the distillation terms in this step."""
    method = trainee.method
    weights = method.weights_at(progress)
    if method.balance is None:
        return weights
    factors = method.balance.factors(means["task"], means, features, trainee.ranks.norms)
    return {name: weight * factors.get(name, 1.0) for name, weight in weights.items()}


def _views(lesson: Lesson, batch: Batch, student: ModelOutput, labels: Tensor) -> StepViews | None:
    """What a method sees of one teacher; None when no row of the batch has a view of it."""
    device, positions = labels.device, torch.from_numpy(batch.positions)
    taught = None
    if lesson.outputs is not None:
        # Maps are kept in half precision.
        taught = ModelOutput(*(part[positions].to(device).float() for part in lesson.outputs))
    weights = None if lesson.row_weights is None else lesson.row_weights[positions].to(device)
    views = StepViews(student, taught, labels, positions.to(device), row_weights=weights)
    if lesson.paired is not None:
        chosen = lesson.paired[positions].nonzero().squeeze(1)
        if len(chosen) == 0:
            return None
        views, positions = rows_of(views, chosen.to(device)), positions[chosen]
    if lesson.inputs is not None:  # of the rows that have them
        views = views._replace(teacher_inputs=torch.from_numpy(lesson.inputs(positions.numpy())).to(device))
    return views


def _gradient_norms(model: nn.Module, weighted: dict[str, Tensor]) -> dict[str, float]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    norms = {}
    for name, term in weighted.items():
        if not term.requires_grad:  # no row of the batch has a teacher
            norms[name] = 0.0
            continue
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        squares = [gradient.square().sum() for gradient in gradients if gradient is not None]
        norms[name] = math.sqrt(float(torch.stack(squares).sum())) if squares else 0.0
    return norms
