"""What a trainer says becomes progress, curves, history and log; what it should not say does no harm."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from service.settings import Settings
from worker.observation import MAX_LOG_CHARACTERS, MAX_LOG_LINES, MAX_WARNINGS, Observation
from worker.stall import longest_silence_s


def say(observation: Observation, event: str, **fields: Any) -> None:
    observation.hear(json.dumps({"event": event, **fields}).encode())


def started(*phases: tuple[str, int]) -> Observation:
    observation = Observation()
    say(observation, "trainer_ready")
    planned = [{"name": name, "total_steps": steps} for name, steps in phases]
    say(observation, "run_started", phases=planned)
    return observation


def step(
    observation: Observation, phase: str, number: int, job_step: int, epoch: int = 1, **more: Any
) -> None:
    say(
        observation,
        "step",
        phase=phase,
        step=number,
        job_step=job_step,
        epoch=epoch,
        loss=0.5,
        lr=0.1,
        **more,
    )


def progress_of(observation: Observation) -> dict[str, Any]:
    progress = observation.take().progress
    assert progress is not None
    return progress


def test_progress_counts_over_all_phases() -> None:
    observation = started(("teacher", 10), ("student", 20))
    say(observation, "phase_started", phase="teacher", step=0, total_steps=10, resumed=False)
    step(observation, "teacher", 1, 1)
    progress = progress_of(observation)
    assert (progress["phase"], progress["step"], progress["total_steps"]) == ("teacher", 1, 30)
    say(observation, "phase_started", phase="student", step=7, total_steps=20, resumed=True)
    progress = progress_of(observation)
    assert (progress["phase"], progress["step"]) == ("student", 17)
    say(observation, "phase_started", phase="finalise", step=0, total_steps=0, resumed=False)
    assert progress_of(observation)["step"] == 30


def test_the_remaining_time_follows_the_measured_speed() -> None:
    observation = started(("student", 100))
    say(observation, "phase_started", phase="student", step=0, total_steps=100, resumed=False)
    for number in range(1, 4):
        step(observation, "student", number, number)
        time.sleep(0.05)
    eta_s = progress_of(observation)["eta_s"]
    assert 97 * 0.05 <= eta_s <= 97 * 0.5


def test_a_resumed_phase_is_told() -> None:
    observation = started(("student", 20))
    say(observation, "phase_started", phase="student", step=7, total_steps=20, resumed=True)
    news = observation.take()
    assert ("job.resumed", {"phase": "student", "step": 7}) in news.events


def test_the_last_word_on_a_step_counts() -> None:
    observation = started(("student", 20))
    step(observation, "student", 5, 5, terms={"task": 1.0})
    step(observation, "student", 5, 5, terms={"task": 2.0})
    say(
        observation,
        "epoch",
        phase="student",
        step=5,
        epoch=1,
        accuracy=0.5,
        macro_f1=0.4,
        loss=1.0,
        best_epoch=1,
    )
    metrics = observation.take().metrics
    assert set(metrics) == {("student", "step", 5), ("student", "epoch", 5)}
    assert metrics["student", "step", 5]["figures"]["terms"] == {"task": 2.0}
    assert metrics["student", "epoch", 5]["figures"]["accuracy"] == 0.5


def test_what_was_taken_is_not_given_again() -> None:
    observation = started(("student", 20))
    step(observation, "student", 1, 1)
    assert observation.take()
    assert not observation.take()


def test_infinities_do_not_reach_the_database() -> None:
    observation = started(("student", 20))
    line = (
        '{"event": "step", "phase": "student", "step": 1, "job_step": 1, "epoch": 1, "loss": NaN, "lr": 0.1}'
    )
    observation.hear(line.encode())
    assert observation.take().metrics["student", "step", 1]["figures"] == {"lr": 0.1}


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\xff\xfe", b"null", b"[]", b"7", b'"step"', b"{}", b'{"event": 3}', b'{"event": "step"}',
        b'{"event": "step", "phase": "student", "step": "x", "job_step": 1}',
        b'{"event": "phase_started", "phase": null, "step": null}', b'{"event": "run_started", "phases": 5}',
        b'{"event": "__class__"}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_nonsense_is_ignored(line: bytes) -> None:
    observation = started(("student", 20))
    observation.take()
    observation.hear(line)
    assert not observation.take()


def test_log_lines_are_capped_in_number_and_length() -> None:
    observation = Observation()
    observation.log_room = 3
    for number in range(5):
        observation.add_line(f"line {number}".encode())
    lines = observation.take().lines
    assert lines[:2] == ["line 0", "line 1"]
    assert lines[2] == f"(a job keeps {MAX_LOG_LINES} lines; what follows is not kept)"
    assert len(lines) == 3
    assert list(observation.last_lines)[-1] == "line 4"

    fresh = Observation()
    fresh.add_line(b"x" * 5000 + b"\n")
    fresh.add_line(b"nul \0 and \xff")
    fresh.add_line(b"   ")
    assert [len(line) for line in fresh.take().lines] == [MAX_LOG_CHARACTERS, 11]


def test_warnings_are_capped() -> None:
    observation = started()
    for number in range(2 * MAX_WARNINGS):
        say(observation, "warning", message=f"number {number}")
    assert len(observation.take().events) == MAX_WARNINGS


def test_a_stall_is_judged_by_the_speed_once_there_is_one() -> None:
    settings = Settings(stall_min_s=0.5, prepare_timeout_s=100)
    observation = started(("student", 20))
    assert longest_silence_s(observation, settings) == 100
    say(observation, "phase_started", phase="student", step=0, total_steps=20, resumed=False)
    assert longest_silence_s(observation, settings) == 100
    for number in range(1, 5):
        step(observation, "student", number, number)
        time.sleep(0.05)
    assert 20 * 0.05 <= longest_silence_s(observation, settings) < 10
    say(
        observation, "phase_finished", phase="student", epochs=1, best_epoch=1, stopped_early=False, seconds=1
    )
    assert longest_silence_s(observation, settings) == 100
