"""By which figure trainings are judged: as the spec says, or by the main one of its task."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

from fdkd_core.spec.gates import GateSpec
from fdkd_core.spec.measures import MEASURES, Measure, SelectBy
from fdkd_core.spec.tasks import TaskSpec, facts_of
from fdkd_core.spec.training import TrainingSpec

FEW_ROWS = 20
"""Of validation: with fewer each moves a figure by more than five points, and their standard error is itself
a guess."""


def selected_by(training: TrainingSpec, task: TaskSpec) -> SelectBy:
    """The validation figure that picks weights, and the better of two trainings."""
    return training.select_by or facts_of(task).metrics[0]


def reported_by(training: TrainingSpec, task: TaskSpec) -> Measure:
    """The figure that trainings are compared in: what they are selected by, unless that is the loss."""
    chosen = selected_by(training, task)
    return facts_of(task).main if chosen == "loss" else MEASURES[chosen]


def judged_training(training: TrainingSpec, task: TaskSpec, at: tuple[str | int, ...] = ()) -> TrainingSpec:
    """The training with its figure filled in.

    Args:
        training: As stated.
        task: Of the job.
        at: Where the training lies below the field that is validated.

    Raises:
        PydanticCustomError: The task does not measure the figure.
    """
    if training.select_by is None:
        return training.model_copy(update={"select_by": facts_of(task).metrics[0]})
    _refuse_others(training.select_by, task, (*facts_of(task).metrics, "loss"), (*at, "select_by"))
    return training


def judged_gate(gate: GateSpec, task: TaskSpec, index: int) -> GateSpec:
    """The gate with its figure filled in.

    Raises:
        PydanticCustomError: The task does not measure the figure.
    """
    if gate.metric is None:
        gate = gate.model_copy(update={"metric": facts_of(task).metrics[0]})
    assert gate.metric is not None
    _refuse_others(gate.metric, task, facts_of(task).metrics, (index, "metric"))
    return gate


def _refuse_others(name: str, task: TaskSpec, allowed: tuple[str, ...], at: tuple[str | int, ...]) -> None:
    if name not in allowed:
        raise PydanticCustomError(
            "not_allowed",
            "found '{found}'; {kind} has {allowed}",
            {"found": name, "kind": task.kind, "allowed": ", ".join(allowed), "at": at},
        )
