"""How steps are computed: a CPU is not asked, a GPU is by time, and what was found out stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from planted import Planted, make_planted

from fdkd_core.events import EventLog
from fdkd_core.phases import Phase, make_trainee, run_phase
from fdkd_core.spec import MLPSpec, TrainingSpec
from fdkd_core.spec.execution import Execution, ExecutionReport
from fdkd_core.training.checkpoint import CheckpointStore
from fdkd_core.training.execution import (
    MIN_TRAINING_S,
    MIN_TRAINING_TO_COMPILE_S,
    apply_execution,
    candidates,
    choose_execution,
    probe,
    time_step,
)
from fdkd_core.training.loop import LoopState, Trainee
from fdkd_core.training.randomness import random_state

CPU = torch.device("cpu")
PLAIN = Execution()
BF16 = Execution(precision="bf16")
LAST = Execution(channels_last=True)
BOTH = Execution(precision="bf16", channels_last=True)
Times = dict[Execution, float | None]


@pytest.fixture(scope="module")
def planted() -> Planted:
    return make_planted(0, num_train=48, num_test=16)


def phase_of(planted: Planted, **training: object) -> Phase:
    spec = TrainingSpec.model_validate({"epochs": 1, "batch_size": 16, **training})
    return Phase("student", "inputs", MLPSpec(width=16, depth=1), "/student/architecture", spec)


def trainee_of(planted: Planted, **training: object) -> Trainee:
    return make_trainee(phase_of(planted, **training), planted.data, CPU)


def probed(
    times: dict[Execution, float | None], *, steps: int, compile_network: str = "auto"
) -> ExecutionReport:
    """The choice where steps take these seconds; None does not work."""

    def time_of(execution: Execution) -> float:
        found = times[execution]
        if found is None:
            raise RuntimeError("no kernel")
        return found

    return probe(PLAIN, [BF16, LAST, BOTH], time_of, compile_network=compile_network, total_steps=steps)


def test_the_fastest_way_is_taken_and_all_are_told() -> None:
    found = probed({PLAIN: 0.1, BF16: 0.06, LAST: None, BOTH: 0.05}, steps=1000)
    assert found.chosen == BOTH
    assert found.reason == "The fastest of 4 ways: bf16, channels-last."
    assert [(timed.execution, timed.step_s) for timed in found.measured] == [
        (PLAIN, 0.1), (BF16, 0.06), (LAST, None), (BOTH, 0.05),
    ]  # fmt: skip


def test_what_is_not_clearly_faster_stays_plain() -> None:
    assert probed({PLAIN: 0.1, BF16: 0.097, LAST: 0.2, BOTH: 0.099}, steps=1000).chosen == PLAIN


def test_short_trainings_are_not_held_up() -> None:
    steps = int(MIN_TRAINING_S / 0.1) - 1
    found = probed({PLAIN: 0.1}, steps=steps)
    assert (found.chosen, len(found.measured)) == (PLAIN, 1)
    assert found.reason.startswith("The training is too short")


def test_compiling_is_for_long_trainings_and_on_top_of_the_best() -> None:
    compiled = BF16.model_copy(update={"compiled": True})
    times = {PLAIN: 0.1, BF16: 0.05, LAST: 0.1, BOTH: 0.05}
    steps = int(MIN_TRAINING_TO_COMPILE_S / 0.05) + 1
    assert probed({**times, compiled: 0.04}, steps=steps).chosen == compiled
    assert probed({**times, compiled: 0.06}, steps=steps).chosen == BF16
    assert probed({**times, compiled: None}, steps=steps).chosen == BF16
    assert probed({**times, compiled: 0.04}, steps=steps - 1000).chosen == BF16
    assert probed({**times, compiled: 0.04}, steps=steps, compile_network="off").chosen == BF16


def test_compiling_that_was_asked_for_falls_back() -> None:
    compiled = PLAIN.model_copy(update={"compiled": True})
    assert probed({PLAIN: 0.1, compiled: 0.2}, steps=10, compile_network="on").chosen == compiled
    found = probed({PLAIN: 0.1, compiled: None}, steps=10, compile_network="on")
    assert found.chosen == PLAIN
    assert found.reason == "Compiling was asked for and did not work here."


def test_a_cpu_is_not_asked(planted: Planted) -> None:
    def never() -> Trainee:
        raise AssertionError

    found = choose_execution(trainee_of(planted), never)
    assert (found.chosen, found.measured, found.probe_s) == (PLAIN, [], 0.0)
    stated = choose_execution(trainee_of(planted, precision="bf16"), never)
    assert stated.chosen == BF16
    assert candidates(TrainingSpec(), PLAIN, on_gpu=False) == []


def test_a_step_is_timed_without_moving_weights_or_generators(planted: Planted) -> None:
    made: list[Trainee] = []

    def make() -> Trainee:
        made.append(trainee_of(planted))
        return made[-1]

    before = {name: tensor.clone() for name, tensor in trainee_of(planted).model.state_dict().items()}
    assert 0 < time_step(PLAIN, make) < 10
    (timed,) = made
    for name, tensor in timed.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name

    trainee, state = trainee_of(planted, compile="on"), random_state()["cpu"]

    def cannot() -> Trainee:
        torch.rand(3)
        raise RuntimeError("no compiler")

    assert choose_execution(trainee, cannot).reason == "The plain way could not be timed."
    assert torch.equal(random_state()["cpu"], state)


def test_the_choice_is_kept_with_the_checkpoint(planted: Planted, tmp_path: Path) -> None:
    report = ExecutionReport(chosen=BF16, reason="Because.", probe_s=1.5)
    state = LoopState(step=1, execution=report)
    CheckpointStore(tmp_path, "key/student").save_if_due(trainee_of(planted), state, must=True)
    trained, _ = run_phase(
        phase_of(planted), planted.data, checkpoints=tmp_path, key="key", should_stop=lambda: False,
        log=EventLog(tmp_path / "events.jsonl", lambda event: None), device=CPU, steps_before=0,
    )  # fmt: skip
    assert trained.execution == report


def test_losses_are_in_fp32_whatever_the_network_computes_in(planted: Planted) -> None:
    trainee = trainee_of(planted)
    apply_execution(trainee, BF16)
    output, features = trainee.outputs(trainee.batches.batch(0), 0)
    assert (output.features.dtype, output.logits.dtype) == (torch.float32, torch.float32)
    assert features.dtype == torch.bfloat16


def test_a_compiled_network_is_the_one_that_runs(planted: Planted) -> None:
    """As torch wraps it, but without the C++ compiler that not every machine has."""
    from fdkd_core.training.loop import taking_steps, train_step

    plain, compiled = trainee_of(planted), trainee_of(planted)
    compiled.network = torch.compile(compiled.model, backend=lambda graph, _: ran.append(1) or graph.forward)
    ran: list[int] = []
    with taking_steps(plain), taking_steps(compiled):
        told = [train_step(t, t.batches.batch(0), lr=0.1, step=0).loss for t in (plain, compiled)]
    assert ran
    assert told[0] == pytest.approx(told[1], rel=1e-5)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of torch, by its own compiler
def test_a_compiled_network_trains_as_the_plain_one(planted: Planted) -> None:
    from fdkd_core.training.loop import train_step

    plain, compiled = trainee_of(planted), trainee_of(planted)
    apply_execution(compiled, Execution(compiled=True))
    for step in range(3):
        told = [train_step(t, t.batches.batch(step), lr=0.1, step=step).loss for t in (plain, compiled)]
        assert told[0] == pytest.approx(told[1], rel=1e-4)
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()
