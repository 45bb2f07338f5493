"""Every method in the real loop: its terms fall because of it, and a stop leaves no trace."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from method_steps import build
from planted import Planted, make_planted

from fdkd_core.errors import TrainingInterrupted
from fdkd_core.models.base import ModelOutput
from fdkd_core.models.mlp import MLP
from fdkd_core.phases import Phase, Trained, make_trainee
from fdkd_core.spec import (
    C2KDSpec,
    CRDSpec,
    DISTSpec,
    DKDSpec,
    LSKDSpec,
    MethodSpec,
    MLPSpec,
    NKDSpec,
    OFAKDSpec,
    PKDSpec,
    RKDSpec,
    SGDSpec,
    TrainingSpec,
)
from fdkd_core.training.checkpoint import CheckpointStore
from fdkd_core.training.loop import Hooks, LoopState, StepMetrics, Trainee, fit

CPU = torch.device("cpu")
ROWS, CLASSES = 64, 6
STEPS_PER_EPOCH = 4

BASELINES: list[MethodSpec] = [
    DISTSpec(),
    DKDSpec(non_target_weight=8.0),
    LSKDSpec(weight=9.0),
    NKDSpec(),
    OFAKDSpec(),
    PKDSpec(),
    RKDSpec(distance_weight=25.0, angle_weight=50.0),
    CRDSpec(),
    C2KDSpec(),
]
"""With the published weights, under which a few steps show what a term does."""


@pytest.fixture(scope="module")
def planted() -> Planted:
    """With a teacher that knows the labels and has an opinion on the other classes too."""
    made = make_planted(0, num_train=ROWS, num_test=64, classes=CLASSES)
    labels = torch.from_numpy(made.data.labels[made.data.splits["train"]])
    opinion = torch.randn(ROWS, CLASSES, generator=torch.Generator().manual_seed(0))
    logits = 3.0 * torch.nn.functional.one_hot(labels, CLASSES) + opinion
    return dataclasses.replace(made, teacher_outputs=ModelOutput(made.teacher_outputs.features, logits))


def trainee_of(planted: Planted, method: MethodSpec, *, epochs: int = 6, lr: float = 0.02) -> Trainee:
    """A student of width 48, so that there is a projector where a method has one; a teacher of width 64."""
    torch.manual_seed(0)
    teacher = MLP(64, CLASSES, 64, 1, 0.1).eval().requires_grad_(False)
    spec = TrainingSpec(epochs=epochs, batch_size=ROWS // STEPS_PER_EPOCH, optimizer=SGDSpec(lr=lr))
    phase = Phase(
        "student",
        "inputs",
        MLPSpec(width=48, depth=1, dropout=0.1),
        "/student/architecture",
        spec,
        method,
        planted.teacher_outputs,
        teacher=Trained("inputs", MLPSpec(width=64, depth=1), teacher, 0, 0, 0.0),
    )
    return make_trainee(phase, planted.data, CPU)


def last_epoch(trainee: Trainee) -> dict[str, float]:
    """Trains; the mean of each term over the last epoch."""
    told: list[StepMetrics] = []
    torch.manual_seed(1)  # dropout
    fit(trainee, LoopState(), Hooks(told.append, lambda: False, lambda state, must: None))
    names = set(told[0].terms) - {"task"}
    return {
        name: sum(step.terms[name] for step in told[-STEPS_PER_EPOCH:]) / STEPS_PER_EPOCH for name in names
    }


@pytest.fixture(scope="module")
def with_all(planted: Planted) -> Callable[[MethodSpec], dict[str, float]]:
    return functools.cache(lambda spec: last_epoch(trainee_of(planted, spec)))


TERMS = [(spec, name) for spec in BASELINES for name in build(spec).weights]


@pytest.mark.parametrize(("spec", "name"), TERMS, ids=lambda value: getattr(value, "name", value))
def test_training_lowers_each_term_that_has_a_weight(
    planted: Planted, with_all: Callable[[MethodSpec], dict[str, float]], spec: MethodSpec, name: str
) -> None:
    """Against the same training in which that one term is watched and has no weight."""
    watched = trainee_of(planted, spec)
    assert watched.method.weights[name] > 0
    watched.method.weights = {**watched.method.weights, name: 0.0}
    without, found = last_epoch(watched), with_all(spec)
    assert found.keys() == without.keys() == watched.method.weights.keys()
    assert found[name] < 0.98 * without[name]


def interrupted(planted: Planted, spec: MethodSpec, folder: Path, after: int) -> None:
    """Trains for some steps, and leaves a checkpoint."""
    trainee, state = trainee_of(planted, spec), LoopState()
    asked = iter([False] * after + [True])
    torch.manual_seed(1)
    with pytest.raises(TrainingInterrupted):
        fit(trainee, state, Hooks(lambda m: None, lambda: next(asked), lambda s, must: None))
    assert CheckpointStore(folder, "key").save_if_due(trainee, state, must=True)


@pytest.mark.parametrize(
    "spec",
    [*BASELINES, CRDSpec(negatives=20), C2KDSpec(balance="gradient_norm")],
    ids=lambda spec: spec.name,
)
def test_a_stop_leaves_no_trace(planted: Planted, spec: MethodSpec, tmp_path: Path) -> None:
    straight = trainee_of(planted, spec)
    torch.manual_seed(1)
    fit(straight, LoopState(), Hooks(lambda m: None, lambda: False, lambda s, must: None))

    interrupted(planted, spec, tmp_path, after=9)
    torch.manual_seed(99)
    resumed = trainee_of(planted, spec)
    state = CheckpointStore(tmp_path, "key").restore(resumed)
    assert state.step == 9
    fit(resumed, state, Hooks(lambda m: None, lambda: False, lambda s, must: None))
    for part in ("model", "method"):
        expected = getattr(straight, part).state_dict()
        found = getattr(resumed, part).state_dict()
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), f"{part} {name}"


@pytest.mark.parametrize("spec", BASELINES, ids=lambda spec: spec.name)
def test_rows_without_a_teacher_train_the_task_alone(planted: Planted, spec: MethodSpec) -> None:
    """Three of 64 rows are paired: batches with none, one and two of them."""
    trainee = trainee_of(planted, spec, epochs=2)
    trainee.spec = trainee.spec.model_copy(update={"log_gradient_norms": True})
    trainee.paired = torch.zeros(ROWS, dtype=torch.bool)
    trainee.paired[[*trainee.batches.positions(0)[:2], trainee.batches.positions(1)[0]]] = True
    told: list[StepMetrics] = []
    fit(trainee, LoopState(), Hooks(told.append, lambda: False, lambda state, must: None))
    for step in told:
        assert step.terms.keys() == {"task", *trainee.method.weights}
        assert all(torch.isfinite(torch.tensor(value)) for value in step.terms.values())
    distilled = [sum(abs(v) for name, v in step.terms.items() if name != "task") for step in told[:4]]
    assert distilled[2] == distilled[3] == 0.0
    if not isinstance(spec, RKDSpec):  # two samples have one distance, and no angle
        assert distilled[0] > 0.0
