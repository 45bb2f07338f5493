from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from planted import Planted, make_planted

from fdkd_core.errors import SpecError
from fdkd_core.methods import build_method
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.methods.combine import Combine
from fdkd_core.models.base import ModelOutput
from fdkd_core.phases import Phase, make_trainee
from fdkd_core.spec import (
    FD_CMKD_WITH_LOGITS,
    CombinedPart,
    CombineSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LeafMethodSpec,
    LogitKDSpec,
    MethodSpec,
    MLPSpec,
    TrainingSpec,
    WeightScheduleSpec,
    load_spec,
)
from fdkd_core.training.checkpoint import CheckpointStore
from fdkd_core.training.loop import Hooks, LoopState, Trainee, fit, train_step
from fdkd_core.training.randomness import seed_torch

CPU = torch.device("cpu")
CLASSES = 3


def views(student_dim: int = 16, teacher_dim: int = 16) -> StepViews:
    generator = torch.Generator().manual_seed(0)
    sizes = (student_dim, CLASSES, teacher_dim, CLASSES)
    parts = [torch.randn(4, size, generator=generator) for size in sizes]
    return StepViews(ModelOutput(*parts[:2]), ModelOutput(*parts[2:]), torch.arange(4) % CLASSES)


def build(spec: MethodSpec, student_dim: int = 16, teacher_dim: int = 16) -> Method:
    torch.manual_seed(0)
    return build_method(spec, MethodContext(student_dim, teacher_dim, CLASSES))


def combined(*parts: LeafMethodSpec | tuple[float, LeafMethodSpec], **fields: Any) -> CombineSpec:
    weighed = [part if isinstance(part, tuple) else (1.0, part) for part in parts]
    return CombineSpec(parts=tuple(CombinedPart(weight=w, method=m) for w, m in weighed), **fields)


def test_terms_are_those_of_the_parts() -> None:
    step = views(student_dim=6, teacher_dim=9)
    spec = combined(
        FeatureMSESpec(weight=3.0), (0.5, LogitKDSpec(weight=4.0, temperature=2.0)), LogitKDSpec()
    )
    method = build(spec, 6, 9)
    found = method.terms(step)
    assert (
        list(found) == list(method.weights) == ["feature_mse.feature", "logit_kd.logit", "logit_kd#2.logit"]
    )
    assert method.weights == {"feature_mse.feature": 3.0, "logit_kd.logit": 2.0, "logit_kd#2.logit": 1.0}
    feature = method.parts[0].terms(step)["feature"]
    torch.testing.assert_close(found["feature_mse.feature"], feature)
    for name, temperature in (("logit_kd.logit", 2.0), ("logit_kd#2.logit", 4.0)):
        expected = build(LogitKDSpec(temperature=temperature)).terms(step)["logit"]
        torch.testing.assert_close(found[name], expected)


def test_each_part_has_parameters_of_its_own() -> None:
    method = build(combined(FDCMKDSpec(), FeatureMSESpec(), FeatureMSESpec()), 6, 9)
    projectors = [part.projector.weight for part in method.parts]
    assert len({id(weight) for weight in projectors}) == 3
    assert not torch.equal(projectors[1], projectors[2])
    assert {name.split(".")[1] for name in method.state_dict()} == {"0", "1", "2"}


def test_schedules_of_parts_and_whole_multiply() -> None:
    late = WeightScheduleSpec(warmup_frac=0.5)
    falling = WeightScheduleSpec(decay="linear")
    spec = combined(
        (2.0, LogitKDSpec(weight=3.0, weight_schedule=late)), FeatureMSESpec(), weight_schedule=falling
    )
    method = build(spec)
    for progress, expected in ((0.0, (0.0, 1.0)), (0.25, (6 * 0.5 * 0.75, 0.75)), (0.75, (6 * 0.25, 0.25))):
        found = method.weights_at(progress)
        assert found["logit_kd.logit"] == pytest.approx(expected[0])
        assert found["feature_mse.feature"] == pytest.approx(expected[1])


def test_teacher_inputs_are_needed_where_a_part_needs_them() -> None:
    class Demanding(Method):
        needs_teacher_inputs = True

        def __init__(self) -> None:
            super().__init__()
            self.weights = {"x": 1.0}

    context = MethodContext(16, 16, 3)
    assert not build(combined(LogitKDSpec(), FeatureMSESpec())).needs_teacher_inputs
    built = iter([build_method(LogitKDSpec(), context), Demanding()])
    made = Combine(combined(LogitKDSpec(), LogitKDSpec()), context, lambda spec, context: next(built))
    assert made.needs_teacher_inputs
    assert made.needs_teacher


@pytest.fixture(scope="module")
def planted() -> Planted:
    return make_planted(0, num_train=64, num_test=64)


def trainee_of(planted: Planted, method: MethodSpec, *, dropout: float = 0.0, **training: Any) -> Trainee:
    spec = TrainingSpec(**{"epochs": 2, "batch_size": 16, **training})
    network = MLPSpec(width=32, depth=1, dropout=dropout)
    return make_trainee(
        Phase("student", "inputs", network, "/student/architecture", spec, method, planted.teacher_outputs),
        planted.data,
        CPU,
    )


def silent(**hooks: Any) -> Hooks:
    quiet: dict[str, Any] = {
        "on_metrics": lambda metrics: None,
        "should_stop": lambda: False,
        "on_checkpoint": lambda state, must: None,
    }
    return Hooks(**{**quiet, **hooks})


def trained(planted: Planted, method: MethodSpec, **training: Any) -> dict[str, torch.Tensor]:
    trainee = trainee_of(planted, method, **training)
    fit(trainee, LoopState(), silent())
    return trainee.model.state_dict()


def test_a_part_of_weight_zero_changes_no_bit(planted: Planted) -> None:
    alone = trained(planted, FDCMKDSpec())
    beside = trained(planted, combined(FDCMKDSpec(), (0.0, LogitKDSpec())))
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
    both = trained(planted, FD_CMKD_WITH_LOGITS)
    assert not all(torch.equal(alone[name], both[name]) for name in alone)


def test_a_balanced_part_is_balanced_as_it_is_alone(planted: Planted) -> None:
    balanced = LogitKDSpec(balance="gradient_norm")
    alone = trainee_of(planted, balanced)
    beside = trainee_of(planted, combined(balanced, (0.0, FeatureMSESpec())))
    for step in range(4):
        told = [train_step(t, t.batches.batch(step), lr=0.1, step=step) for t in (alone, beside)]
        assert told[0].weighted["logit"] == told[1].weighted["logit_kd.logit"]
        assert told[0].weighted["logit"] != told[0].terms["logit"]
        assert told[1].weighted["feature_mse.feature"] == 0.0
    assert torch.equal(alone.method.balance.norms, beside.method.balance.norms)


def test_a_balanced_whole_balances_every_term(planted: Planted) -> None:
    trainee = trainee_of(
        planted, combined(LogitKDSpec(), (0.5, FeatureMSESpec()), balance="gradient_norm"), augment="none"
    )
    told = train_step(trainee, trainee.batches.batch(0), lr=0.1, step=0)
    task, logit, feature = trainee.method.balance.norms.tolist()
    assert told.weighted["logit_kd.logit"] == pytest.approx(told.terms["logit_kd.logit"] * task / logit)
    expected = 0.5 * told.terms["feature_mse.feature"] * task / feature
    assert told.weighted["feature_mse.feature"] == pytest.approx(expected)


def test_parts_are_trained_and_checkpointed(planted: Planted, tmp_path: Path) -> None:
    method = combined(FDCMKDSpec(balance="gradient_norm"), FeatureMSESpec(projector="linear"), LogitKDSpec())
    whole = trainee_of(planted, method, dropout=0.1)
    before = {name: tensor.clone() for name, tensor in whole.method.state_dict().items()}
    seed_torch(0, "dropout")
    fit(whole, LoopState(), silent())
    after = whole.method.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)

    store = CheckpointStore(tmp_path / "checkpoints", "key")
    at_five = trainee_of(planted, method, dropout=0.1)

    def keep(now: LoopState, must: bool) -> None:
        if now.step == 5:
            store.save_if_due(at_five, now, must=True)

    seed_torch(0, "dropout")
    fit(at_five, LoopState(), silent(on_checkpoint=keep))
    resumed = trainee_of(planted, method, dropout=0.1)
    found = CheckpointStore(tmp_path / "checkpoints", "key").restore(resumed)
    assert found.step == 5
    fit(resumed, found, silent())
    assert all(torch.equal(tensor, resumed.method.state_dict()[name]) for name, tensor in after.items())
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name])


DOCUMENT: dict[str, Any] = {
    "kind": "distill",
    "dataset": "digits",
    "task": {"kind": "classification"},
    "teacher": {"modality": "image"},
    "student": {"modality": "audio"},
}
FINE = [{"method": {"name": "fd_cmkd"}}, {"weight": 2, "method": {"name": "logit_kd"}}]


def refused(**method: Any) -> list[tuple[str, str | None]]:
    with pytest.raises(SpecError) as caught:
        load_spec({**DOCUMENT, "method": {"name": "combine", **method}})
    return [(problem.code, problem.pointer) for problem in caught.value.problems]


def test_the_spec_is_read() -> None:
    spec = load_spec({**DOCUMENT, "method": {"name": "combine", "parts": FINE}})
    assert spec.method == combined(FDCMKDSpec(), (2.0, LogitKDSpec()))
    assert spec.method.part_names == ["fd_cmkd", "logit_kd"]
    assert load_spec(spec.model_dump(mode="json")) == spec
    assert combined(FDCMKDSpec(), LogitKDSpec()) == FD_CMKD_WITH_LOGITS


def test_problems_point_into_the_parts() -> None:
    def part(**method: Any) -> list[dict[str, Any]]:
        return [{"method": method}, FINE[0]]

    assert refused(parts=part(name="fd_cmkd", cutoff=2)) == [
        ("out_of_range", "/method/parts/0/method/cutoff")
    ]
    assert refused(parts=part(name="logit_kd", heat=2)) == [("unknown_field", "/method/parts/0/method/heat")]
    for name in ("none", "combine", "magic"):
        assert refused(parts=part(name=name)) == [("not_allowed", "/method/parts/0/method/name")]
    assert refused(parts=part()) == [("missing_field", "/method/parts/0/method/name")]
    assert refused(parts=[FINE[0], {"weight": 1}]) == [("missing_field", "/method/parts/1/method")]
    assert refused(parts=[FINE[0], {**FINE[1], "weight": -1}]) == [("out_of_range", "/method/parts/1/weight")]
    assert refused() == [("missing_field", "/method/parts")]
    assert refused(parts=FINE[:1]) == [("out_of_range", "/method/parts")]
    assert refused(parts=FINE * 5) == [("out_of_range", "/method/parts")]


def test_what_is_balanced_twice_is_refused() -> None:
    balanced = [{"method": {"name": "fd_cmkd", "balance": "gradient_norm"}}, FINE[1]]
    assert refused(parts=balanced, balance="gradient_norm") == [("conflicting_fields", "/method")]
    load_spec({**DOCUMENT, "method": {"name": "combine", "parts": balanced}})
