from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted import Planted, make_planted

from fdkd_core.errors import (
    CheckpointError,
    IncompatibleError,
    StorageError,
    TrainingDivergedError,
    TrainingInterrupted,
)
from fdkd_core.phases import Phase, make_trainee
from fdkd_core.spec import (
    AdamWSpec,
    FDCMKDSpec,
    MethodSpec,
    MLPSpec,
    NoneSpec,
    ResNet18Spec,
    SGDSpec,
    TrainingSpec,
)
from fdkd_core.training import checkpoint
from fdkd_core.training.checkpoint import CheckpointStore
from fdkd_core.training.loop import Hooks, LoopState, StepMetrics, Trainee, fit, train_step

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def planted() -> Planted:
    return make_planted(0, num_train=64, num_test=64)


def trainee_of(planted: Planted, method: MethodSpec = NoneSpec(), **training: Any) -> Trainee:  # noqa: B008
    spec = TrainingSpec(**{"epochs": 2, "batch_size": 16, **training})
    outputs = None if isinstance(method, NoneSpec) else planted.teacher_outputs
    phase = Phase(
        "student",
        "inputs",
        MLPSpec(width=64, depth=1, dropout=0.1),
        "/student/architecture",
        spec,
        method,
        outputs,
    )
    return make_trainee(phase, planted.data, CPU)


def silent(**hooks: Any) -> Hooks:
    return Hooks(
        **{
            "on_metrics": lambda metrics: None,
            "should_stop": lambda: False,
            "on_checkpoint": lambda state, must: None,
            **hooks,
        }
    )


def test_every_term_is_told_raw_and_weighted(planted: Planted) -> None:
    told: list[StepMetrics] = []
    method = FDCMKDSpec(low_weight=2.0, high_weight=0.5, align_weight=0.25, band_head_weight=3.0)
    fit(trainee_of(planted, method), LoopState(), silent(on_metrics=told.append))
    assert [metrics.step for metrics in told] == list(range(1, 9))
    assert [metrics.epoch for metrics in told] == [1] * 4 + [2] * 4
    weights = {"task": 1.0, "low": 2.0, "high": 0.5, "align": 0.25, "heads": 3.0}
    for metrics in told:
        assert metrics.terms.keys() == weights.keys()
        for name, weight in weights.items():
            assert metrics.weighted[name] == pytest.approx(weight * metrics.terms[name])
        assert metrics.loss == pytest.approx(sum(metrics.weighted.values()))
        assert metrics.gradient_norms is None


def test_gradient_norms_on_request(planted: Planted) -> None:
    told: list[StepMetrics] = []
    trainee = trainee_of(planted, FDCMKDSpec(high_weight=0.0), log_gradient_norms=True)
    fit(trainee, LoopState(), silent(on_metrics=told.append))
    norms = told[0].gradient_norms
    assert norms is not None
    assert norms["task"] > 0
    assert norms["low"] > 0
    assert norms["high"] == 0.0


def test_a_step_equals_plain_torch(planted: Planted) -> None:
    trainee = trainee_of(planted, augment="none", optimizer=SGDSpec(lr=0.1, momentum=0.0))
    batch = trainee.batches.batch(0)
    trainee.model.eval()  # no dropout: the step is then easy to write down
    weight = trainee.model.classifier.weight.detach().clone()
    output = trainee.model(torch.from_numpy(batch.inputs))
    residual = output.logits.softmax(1) - torch.nn.functional.one_hot(torch.from_numpy(batch.labels), 6)
    expected = weight - 0.1 * (residual.T @ output.features).detach() / len(batch.labels)
    train_step(trainee, batch, lr=0.1, step=0)
    torch.testing.assert_close(trainee.model.classifier.weight.detach(), expected)


def test_a_loss_that_is_not_finite_stops_before_the_step(planted: Planted) -> None:
    trainee = trainee_of(planted, FDCMKDSpec(), optimizer=SGDSpec(lr=0.1))
    poisoned = trainee.teacher_outputs.features.clone()
    poisoned[trainee.batches.positions(2)[0]] = float("nan")
    trainee.teacher_outputs = trainee.teacher_outputs._replace(features=poisoned)
    state, before = LoopState(), {}

    def keep(metrics: StepMetrics) -> None:
        before.update({name: t.clone() for name, t in trainee.model.state_dict().items()})

    with pytest.raises(TrainingDivergedError) as caught:
        fit(trainee, state, silent(on_metrics=keep))
    assert (caught.value.step, caught.value.term) == (2, "low")
    assert state.step == 2
    for name, parameter in trainee.model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_a_huge_learning_rate_diverges_with_a_clear_error(planted: Planted) -> None:
    trainee = trainee_of(planted, epochs=12, optimizer=SGDSpec(lr=100.0, momentum=0.99))
    for parameter in trainee.model.parameters():
        parameter.data.mul_(1e18)
    with pytest.raises(TrainingDivergedError, match="Lower training"):
        fit(trainee, LoopState(), silent())


def test_weights_that_are_not_finite_are_divergence_although_the_scores_are(planted: Planted) -> None:
    """As an infinite running variance, which makes a channel of every sample a constant."""
    trainee = trainee_of(planted, epochs=1)
    trainee.model.register_buffer("running_var", torch.tensor([1.0, float("inf")]))
    with pytest.raises(
        TrainingDivergedError, match="answers to validation rows were not finite after step 4"
    ):
        fit(trainee, LoopState(), silent())


def test_selection_keeps_the_first_best_epoch(planted: Planted) -> None:
    trainee = trainee_of(planted, epochs=6)
    scripted = iter([0.3, 0.5, 0.5, 0.4, 0.45, 0.2])
    weights_at: list[torch.Tensor] = []
    real = trainee.validate

    def validate() -> Any:
        weights_at.append(trainee.model.classifier.weight.detach().clone())
        return real().model_copy(update={"accuracy": next(scripted)})

    trainee.validate = validate
    state = fit(trainee, LoopState(), silent())
    assert (state.best_epoch, state.best_value) == (2, 0.5)
    assert torch.equal(state.best_weights["classifier.weight"], weights_at[1])
    assert [record["accuracy"] for record in state.history] == [0.3, 0.5, 0.5, 0.4, 0.45, 0.2]


def test_early_stopping_waits_for_patience(planted: Planted) -> None:
    trainee = trainee_of(planted, epochs=9, patience_epochs=2)
    scripted = iter([0.3, 0.5, 0.4, 0.5, 0.9])
    real = trainee.validate
    trainee.validate = lambda: real().model_copy(update={"accuracy": next(scripted)})
    state = fit(trainee, LoopState(), silent())
    assert state.stopped_early
    assert len(state.history) == 4


def test_validation_never_changes_training(planted: Planted) -> None:
    watched, blind = trainee_of(planted, FDCMKDSpec()), trainee_of(planted, FDCMKDSpec())
    found = watched.validate()
    blind.validate = lambda: found
    torch.manual_seed(7)
    fit(watched, LoopState(), silent())
    torch.manual_seed(7)
    fit(blind, LoopState(), silent())
    for left, right in zip(watched.model.parameters(), blind.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_student_and_control_start_from_the_same_weights(planted: Planted) -> None:
    student, control = trainee_of(planted, FDCMKDSpec()), trainee_of(planted)
    for left, right in zip(student.model.parameters(), control.model.parameters(), strict=True):
        assert torch.equal(left, right)
    other = trainee_of(planted, seed=1)
    assert not torch.equal(other.model.classifier.weight, control.model.classifier.weight)


def test_a_stop_saves_and_says_so(planted: Planted) -> None:
    saved: list[tuple[int, bool]] = []
    asked = iter([False] * 3 + [True])
    hooks = silent(
        should_stop=lambda: next(asked), on_checkpoint=lambda state, must: saved.append((state.step, must))
    )
    with pytest.raises(TrainingInterrupted):
        fit(trainee_of(planted), LoopState(), hooks)
    assert saved[-1] == (3, True)


@pytest.mark.parametrize("optimizer", [SGDSpec(lr=0.1), SGDSpec(lr=0.1, momentum=0.0), AdamWSpec()])
def test_checkpoints_carry_every_optimiser(planted: Planted, optimizer: Any, tmp_path: Path) -> None:
    def finish(trainee: Trainee, state: LoopState) -> dict[str, torch.Tensor]:
        fit(trainee, state, silent())
        return trainee.model.state_dict()

    straight_trainee = trainee_of(planted, FDCMKDSpec(), optimizer=optimizer)
    torch.manual_seed(3)  # dropout
    straight = finish(straight_trainee, LoopState())

    first, state = trainee_of(planted, FDCMKDSpec(), optimizer=optimizer), LoopState()
    asked = iter([False] * 5 + [True])
    torch.manual_seed(3)
    with pytest.raises(TrainingInterrupted):
        fit(first, state, silent(should_stop=lambda: next(asked)))
    assert CheckpointStore(tmp_path, "key").save_if_due(first, state, must=True)

    torch.manual_seed(99)
    second = trainee_of(planted, FDCMKDSpec(), optimizer=optimizer)
    restored = CheckpointStore(tmp_path, "key").restore(second)
    assert restored.step == 5
    resumed = finish(second, restored)
    for name, tensor in straight.items():
        assert torch.equal(resumed[name], tensor), name


def store_with_checkpoint(planted: Planted, folder: Path, **options: Any) -> Trainee:
    trainee = trainee_of(planted)
    CheckpointStore(folder, "key", **options).save_if_due(trainee, LoopState(step=1), must=True)
    return trainee


def test_another_key_is_refused(planted: Planted, tmp_path: Path) -> None:
    trainee = store_with_checkpoint(planted, tmp_path)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        CheckpointStore(tmp_path, "other key").restore(trainee)


def test_a_checkpoint_signed_with_another_secret_is_passed_over(planted: Planted, tmp_path: Path) -> None:
    trainee = store_with_checkpoint(planted, tmp_path, secret=b"right")
    warnings: list[str] = []
    assert CheckpointStore(tmp_path, "key", secret=b"wrong", warn=warnings.append).restore(trainee).step == 0
    assert "seal" in warnings[0]
    assert CheckpointStore(tmp_path, "key", secret=b"right").restore(trainee).step == 1


def test_another_thread_count_is_warned_of(planted: Planted, tmp_path: Path) -> None:
    trainee = store_with_checkpoint(planted, tmp_path)
    threads = torch.get_num_threads()
    warnings: list[str] = []
    try:
        torch.set_num_threads(threads + 1)
        CheckpointStore(tmp_path, "key", warn=warnings.append).restore(trainee)
    finally:
        torch.set_num_threads(threads)
    assert "not be bit-identical" in warnings[0]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_keeps_the_checkpoint_before(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    trainee = store_with_checkpoint(planted, tmp_path)
    store = CheckpointStore(tmp_path, "key")
    with monkeypatch.context() as broken:
        broken.setattr(
            os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(code, os.strerror(code)))
        )
        with pytest.raises(StorageError):
            store.save_if_due(trainee, LoopState(step=2), must=True)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000001"]
    assert CheckpointStore(tmp_path, "key").restore(trainee).step == 1


def test_checkpoints_never_cost_more_than_their_share(planted: Planted, tmp_path: Path) -> None:
    trainee = trainee_of(planted, checkpoint_every_steps=1)
    store = CheckpointStore(tmp_path, "key")
    store.save_if_due(trainee, LoopState(step=1), must=True)
    store._last_cost_s = 1e6
    assert not store.save_if_due(trainee, LoopState(step=2), must=False)
    store._last_cost_s = 0.0
    assert store.save_if_due(trainee, LoopState(step=3), must=False)
    assert checkpoint.KEEP == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_of_the_teacher_is_in_a_checkpoint(planted: Planted) -> None:
    tensors, document = checkpoint.pack(trainee_of(planted, FDCMKDSpec()), LoopState())
    assert {name.split("/")[0] for name in tensors} == {"model", "method", "random"}
    assert "teacher" not in str(document)


def test_fewer_rows_than_a_batch_are_refused(planted: Planted) -> None:
    with pytest.raises(IncompatibleError) as caught:
        trainee_of(planted, batch_size=65)
    assert caught.value.problems[0].code == "dataset_too_small"


def test_an_architecture_that_cannot_take_the_input_is_refused(planted: Planted) -> None:
    phase = Phase("student", "inputs", ResNet18Spec(), "/student/architecture", TrainingSpec(batch_size=16))
    with pytest.raises(IncompatibleError) as caught:
        make_trainee(phase, planted.data, CPU)
    assert str(caught.value.problems[0].pointer).startswith("/student/architecture")


def test_bf16_trains(planted: Planted) -> None:
    told: list[StepMetrics] = []
    fit(
        trainee_of(planted, FDCMKDSpec(), precision="bf16", epochs=1),
        LoopState(),
        silent(on_metrics=told.append),
    )
    exact: list[StepMetrics] = []
    fit(trainee_of(planted, FDCMKDSpec(), epochs=1), LoopState(), silent(on_metrics=exact.append))
    assert told[0].loss == pytest.approx(exact[0].loss, rel=0.02)
    assert np.isfinite([metrics.loss for metrics in told]).all()
