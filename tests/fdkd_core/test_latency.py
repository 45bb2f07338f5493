from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from planted import make_planted

from fdkd_core.latency import BATCH_SIZES, MAX_REPEATS, MIN_REPEATS, Timed, measure
from fdkd_core.model_latency import measure_models
from fdkd_core.models import build_model
from fdkd_core.phases import Trained
from fdkd_core.spec import MLPSpec

SAMPLES = np.arange(6, dtype=np.float32).reshape(3, 2)


@dataclass
class Machine:
    """A clock that moves only while something runs, and what ran."""

    now: float = 0.0
    ran: list[tuple[str, int]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def timed(self, name: str, *seconds: float) -> Timed:
        """Runs that take these many seconds, over and over."""

        def run(batch: Any) -> None:
            turn = sum(1 for other, size in self.ran if (other, size) == (name, len(batch)))
            self.ran.append((name, len(batch)))
            self.now += seconds[turn % len(seconds)]

        return Timed(run, SAMPLES)


def test_medians_of_passes_that_are_taken_in_turns() -> None:
    machine = Machine()
    found = measure(
        {"a": machine.timed("a", 0.001, 0.003), "b": machine.timed("b", 0.002)},
        budget_s=100.0,
        clock=machine.clock,
    )
    for name, median, p95 in (("a", 2.0, 3.0), ("b", 2.0, 2.0)):
        assert [batch.batch_size for batch in found[name]] == list(BATCH_SIZES)
        for batch in found[name]:
            assert batch.repeats == MAX_REPEATS
            assert (batch.median_ms, batch.p95_ms) == (median, p95)
    # Three to warm up each, then both in every round, every other one in reverse.
    order = "".join(name for name, size in machine.ran if size == 1)
    assert order == "aaabbb" + "abba" * (MAX_REPEATS // 2)


def test_batches_repeat_the_samples_that_there_are() -> None:
    seen: dict[int, Any] = {}

    def run(batch: Any) -> None:
        seen[len(batch)] = batch

    measure({"a": Timed(run, SAMPLES)}, budget_s=5.0)
    assert sorted(seen) == [1, 32]
    np.testing.assert_array_equal(seen[1], SAMPLES[:1])
    np.testing.assert_array_equal(seen[32], np.concatenate([SAMPLES] * 11)[:32])


def test_the_time_is_kept() -> None:
    machine = Machine()
    found = measure({"a": machine.timed("a", 0.01)}, budget_s=1.0, clock=machine.clock)
    assert [batch.repeats for batch in found["a"]] == pytest.approx([48, 48], abs=2)
    assert machine.now == pytest.approx(1.0, abs=0.05)


def test_what_does_not_fit_the_time_often_enough_is_left_out() -> None:
    machine = Machine()
    slow = Timed(lambda batch: setattr(machine, "now", machine.now + 0.005 * len(batch)), SAMPLES)
    found = measure({"a": slow}, budget_s=0.5, clock=machine.clock)
    assert [batch.batch_size for batch in found["a"]] == [1]
    assert found["a"][0].repeats >= MIN_REPEATS
    assert machine.now <= 0.25 + 0.005 + 0.25 + 32 * 0.005, "and is not tried more often than to know it"
    assert measure({"a": slow}, budget_s=0.0, clock=machine.clock) == {"a": []}
    assert measure({}, budget_s=1.0) == {}


DATA = make_planted(0, num_train=20, num_test=5).data


def model(width: int) -> Trained:
    torch.manual_seed(width)
    spec = MLPSpec(width=width)
    return Trained("inputs", spec, build_model(spec, (64,), 6, None, pointer="/x"), 1, 1, 0.0)


def test_measuring_models_leaves_everything_as_it_was() -> None:
    student, teacher = model(4), model(8)
    weights = copy.deepcopy(student.model.state_dict())
    threads, random_state = torch.get_num_threads(), torch.get_rng_state()
    inside: list[int] = []
    teacher.model.register_forward_hook(lambda *_: inside.append(torch.get_num_threads()))
    found = measure_models({"student": student, "teacher": teacher}, DATA, 0.05)
    assert set(found) == {"student", "teacher"}
    assert (found["student"].runtime, found["student"].threads) == ("torch", 1)
    assert found["student"].batches[0].repeats == found["teacher"].batches[0].repeats >= MIN_REPEATS
    assert set(inside) == {1}
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), random_state)
    assert student.model.training
    assert all(torch.equal(weights[name], value) for name, value in student.model.state_dict().items())


def test_without_time_nothing_is_measured() -> None:
    assert measure_models({"student": model(4)}, DATA, 0.0) == {}
