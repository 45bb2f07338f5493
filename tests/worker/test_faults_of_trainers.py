"""Trainers that die, hang or cannot start (F1, F29-F31, F33): the job is told, the worker goes on."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_trainer import chain
from small_job import small_spec
from worker_process import MISBEHAVING, running
from worker_rig import Rig

from fdkd_core.spec import TrainSpec, load_spec
from service.jobs.states import JobState
from worker.polling import Bell, FailedStarts, Slot

STEPS = 10


def train_spec(name: str, **training: Any) -> TrainSpec:
    """One phase of a real job."""
    spec = load_spec(
        {
            "kind": "train",
            "name": name,
            "dataset": "small",
            "task": {"kind": "classification"},
            "student": {"modality": "wave", "architecture": {"name": "conv1d", "width": 6, "depth": 2}},
            "training": {"epochs": 1, "batch_size": 16, "max_grad_norm": None, **training},
            "export": {"onnx": False, "latency_s": 0.0},
        }
    )
    assert isinstance(spec, TrainSpec)
    return spec


def link(rig: Rig, job_id: str) -> str:
    return json.loads(rig.read_artifact(job_id, "data_report.json"))["link"]


@pytest.mark.parametrize("slots", [2])
def test_a_killed_trainer_resumes(both_rig: Rig, small_data: Path, slots: int) -> None:
    """At seven points, each in a job of its own: the result is that of an undisturbed run."""
    rig = both_rig
    dataset_id = rig.add_dataset(small_data)
    points = [
        "student:0",
        "student:1",
        "student:2",
        "student:3",
        "student:4",
        f"student:{STEPS - 1}",
        "finalise",
    ]
    jobs = {point: rig.add_job(dataset_id, plan=f"kill@{point} steps={STEPS}") for point in points}
    with running(rig.start_worker(worker_slots=slots)):
        for point, job_id in jobs.items():
            job = rig.wait_for_end(job_id, "succeeded")
            assert rig.fired(job_id) == [f"kill@{point}"]
            assert (job.attempt, job.losses) == (2, 1)
            assert link(rig, job_id) == chain(STEPS)
            (lost,) = rig.events(job_id, "job.lost")
            assert lost.data["code"] == "crashed"
            assert "signal 9" in lost.data["message"]
            # Lost work: at most one checkpoint interval and a step.
            resumed = [event.data["step"] for event in rig.events(job_id, "job.resumed")]
            expected = {"finalise": STEPS}.get(point, 0) or int(point.partition(":")[2] or 0) // 3 * 3
            assert resumed == ([expected] if expected else [])
    rig.require_clean_history(list(jobs.values()))


@pytest.mark.parametrize("verb", ["segv", pytest.param("raise", marks=pytest.mark.long)])
def test_a_second_crash_at_the_same_step_is_the_jobs_own_fault(rig: Rig, small_data: Path, verb: str) -> None:
    dataset_id = rig.add_dataset(small_data)
    poison = rig.add_job(dataset_id, plan=f"{verb}@student:5 until=9")
    healthy = rig.add_job(dataset_id, plan="after it")
    with running(rig.start_worker()):
        job = rig.wait_for_end(poison, "failed")
        rig.wait_for_end(healthy, "succeeded")
    assert rig.fired(poison) == [f"{verb}@student:5"] * 2
    assert job.error is not None
    assert (job.error["code"], job.error["phase"], job.error["retryable"]) == ("crashed", "student", False)
    expected = "signal 11" if verb == "segv" else "RuntimeError: planned by the test"
    assert expected in job.error["message"]
    assert any("RuntimeError" in line for line in rig.log_lines(poison)) == (verb == "raise")
    rig.require_clean_history([poison, healthy])


@pytest.mark.long
def test_a_job_that_is_lost_again_and_again_is_given_up(
    make_rig: Callable[..., Rig], small_data: Path
) -> None:
    rig = make_rig(max_attempts=3)
    faults = "kill@student:1#1 kill@student:4#2 kill@student:7#3"
    job_id = rig.add_job(rig.add_dataset(small_data), plan=faults)
    with running(rig.start_worker()):
        job = rig.wait_for_end(job_id, "failed")
    assert rig.fired(job_id) == ["kill@student:1", "kill@student:4", "kill@student:7"]
    assert job.error is not None
    assert (job.error["code"], job.error["retryable"], job.losses) == ("crashed", True, 3)
    assert [event.type for event in rig.events(job_id)][-1] == "job.given_up"


def test_a_hanging_trainer_is_noticed(make_rig: Callable[..., Rig], small_data: Path) -> None:
    rig = make_rig(stall_min_s=1.0)
    job_id = rig.add_job(rig.add_dataset(small_data), plan="hang@student:5 step_s=0.01")
    with running(rig.start_worker()) as worker:
        job = rig.wait_for_end(job_id, "succeeded")
        assert "fenced" not in worker.log
    assert rig.fired(job_id) == ["hang@student:5"]
    (lost,) = rig.events(job_id, "job.lost")
    assert lost.data["code"] == "stalled"
    assert job.attempt == 2
    assert link(rig, job_id) == chain(STEPS)


@pytest.mark.long
def test_a_trainer_that_hangs_at_the_same_step_twice_fails_its_job(
    make_rig: Callable[..., Rig], small_data: Path
) -> None:
    rig = make_rig(stall_min_s=0.5)
    job_id = rig.add_job(rig.add_dataset(small_data), plan="hang@student:5 step_s=0.01 until=9")
    with running(rig.start_worker()):
        job = rig.wait_for_end(job_id, "failed")
    assert job.error is not None
    assert job.error["code"] == "stalled"
    assert job.attempt == 2


def test_checkpoints_of_another_run_are_left_behind(rig: Rig, small_data: Path) -> None:
    """The attempt starts over instead of failing for what is not its user's fault (F21)."""
    job_id = rig.add_job(rig.add_dataset(small_data), plan="kill@student:5#1 foreign@restore#2")
    with running(rig.start_worker()):
        job = rig.wait_for_end(job_id, "succeeded")
    assert rig.fired(job_id) == ["kill@student:5", "foreign@restore", "foreign@restore"]
    (warning,) = rig.events(job_id, "job.warning")
    assert "starts over: planned by the test" in warning.data["message"]
    assert (warning.attempt, job.attempt) == (2, 2)
    began = [what for _, attempt, _, what in rig.trace() if attempt == 2 and "from" in what]
    assert began == ["student from 0"]
    assert link(rig, job_id) == chain(STEPS)


def test_a_full_disk_is_said_and_can_be_retried(rig: Rig, small_data: Path) -> None:
    dataset_id = rig.add_dataset(small_data)
    job_id = rig.add_job(dataset_id, plan="exit4@student:5")
    with running(rig.start_worker()):
        job = rig.wait_for_end(job_id, "failed")
        assert job.error == {
            "code": "storage_full", "message": "planned by the test", "phase": "student", "retryable": True,
        }  # fmt: skip
        # A retry is another job, which goes on from the checkpoint of the first.
        retry = rig.add_job(dataset_id, plan="a retry", retry_of=job_id)
        rig.wait_for_end(retry, "succeeded")
    assert [event.data["step"] for event in rig.events(retry, "job.resumed")] == [3]
    assert link(rig, retry) == chain(STEPS)


def test_a_worker_whose_trainers_cannot_start_takes_no_more_jobs(rig: Rig, small_data: Path) -> None:
    """Their jobs are not charged, and the next worker runs them."""
    dataset_id = rig.add_dataset(small_data)
    jobs = [rig.add_job(dataset_id) for _ in range(4)]
    broken = rig.start_worker([sys.executable, "-c", "import sys; sys.exit('no driver')"])
    assert broken.process.wait(30) == 3, broken.log
    yielded = [event for job_id in jobs for event in rig.events(job_id, "job.yielded")]
    assert len(yielded) == 3
    assert all(event.data["reason"] == "not_started" for event in yielded)
    assert "no driver" in yielded[0].data["message"]
    assert {rig.job(job_id).state for job_id in jobs} == {JobState.QUEUED}
    assert {rig.job(job_id).losses for job_id in jobs} == {0}
    with running(rig.start_worker()):
        for job_id in jobs:
            rig.wait_for_end(job_id, "succeeded")


def test_a_worker_that_can_write_nowhere_takes_no_more_jobs(rig: Rig, small_data: Path) -> None:
    """It is quicker to fail than others are to train, and would fail all that waits."""
    dataset_id = rig.add_dataset(small_data)
    work, aside = rig.context.settings.work_dir, rig.folder / "aside"
    broken = rig.start_worker()
    rig.wait_for_end(rig.add_job(dataset_id), "succeeded")
    work.rename(aside)
    work.touch()
    jobs = [rig.add_job(dataset_id) for _ in range(4)]
    assert broken.process.wait(30) == 3, broken.log
    yielded = [event for job_id in jobs for event in rig.events(job_id, "job.yielded")]
    assert [event.data["reason"] for event in yielded] == ["not_started"] * 3
    assert "No folder for the job on this worker's machine: Not a directory" in yielded[0].data["message"]
    assert {rig.job(job_id).losses for job_id in jobs} == {0}
    work.unlink()
    aside.rename(work)
    with running(rig.start_worker()):
        for job_id in jobs:
            rig.wait_for_end(job_id, "succeeded")


def test_a_disk_without_room_for_the_inputs_is_a_loss(
    rig: Rig, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this machine: the job is tried again, later and maybe elsewhere."""
    job_id = rig.add_job(rig.add_dataset(small_data))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("worker.attempt.fetch_inputs", full)
    slot = Slot(rig.context, "wrk_here", Bell(), FailedStarts(), poll_s=0.1)
    assert slot.run_next()
    (lost,) = rig.events(job_id, "job.lost")
    assert (lost.data["code"], "No space left on device" in lost.data["message"]) == ("storage_full", True)
    row = rig.job(job_id)
    assert (row.state, row.losses, row.last_crash_step) == (JobState.QUEUED, 1, None)
    monkeypatch.undo()
    with running(rig.start_worker()):
        rig.wait_for_end(job_id, "succeeded")


def test_a_missing_trainer_is_a_failed_start_too(rig: Rig, small_data: Path) -> None:
    job_id = rig.add_job(rig.add_dataset(small_data))
    assert rig.start_worker(["/nonexistent/trainer"]).process.wait(30) == 3
    assert rig.job(job_id).losses == 0


def test_a_real_trainer_diverges_runs_out_of_memory_and_the_next_one_is_fine(
    make_rig: Callable[..., Rig], small_data: Path
) -> None:
    rig = make_rig(trainer_memory_bytes=8 << 30)
    dataset_id = rig.add_dataset(small_data)
    optimizer = {"name": "sgd", "lr": 100.0, "weight_decay": 1.0}  # each step multiplies the weights by -99
    diverging = rig.add_job(dataset_id, train_spec("too fast", optimizer=optimizer, epochs=9))
    greedy = rig.add_job(dataset_id, train_spec("oom@student:3"))
    healthy = rig.add_job(dataset_id, train_spec("after them"))
    with running(rig.start_worker(MISBEHAVING)):
        job = rig.wait_for_end(diverging, "failed")
        assert job.error is not None
        assert (job.error["code"], job.error["retryable"]) == ("diverged", False)
        assert job.progress is not None
        assert job.progress["step"] < 50
        assert rig.artifacts(diverging) == {}
        job = rig.wait_for_end(greedy, "failed")
        assert job.error is not None
        assert (job.error["code"], job.error["phase"]) == ("out_of_memory", "student")
        assert rig.fired(greedy) == ["oom@student:3"]
        rig.wait_for_end(healthy, "succeeded")


def test_a_student_that_fails_its_gate_fails_its_job(rig: Rig, small_data: Path) -> None:
    """With figures, without artifacts; a retry says the same and trains nothing."""
    dataset_id = rig.add_dataset(small_data)
    training = {"epochs": 1, "batch_size": 16}
    spec = small_spec(
        name="gated",
        teacher={"modality": "clean", "train": training},
        training=training,
        gates=[{"min_uplift": 0.9, "on_fail": "fail"}],
    )
    job_id = rig.add_job(dataset_id, spec)
    with running(rig.start_worker(MISBEHAVING)):
        job = rig.wait_for_end(job_id, "failed")
        retry_id = rig.add_job(dataset_id, spec, retry_of=job_id)
        retry = rig.wait_for_end(retry_id, "failed")
    assert job.error is not None
    assert (job.error["code"], job.error["phase"], job.error["retryable"]) == (
        "gate_failed",
        "finalise",
        False,
    )
    assert "the job asks for at least +90.0 points: not passed" in job.error["message"]
    assert [problem["pointer"] for problem in job.error["problems"]] == ["/spec/gates/0"]
    assert rig.artifacts(job_id) == {}
    assert (job.attempt, job.losses, job.result) == (1, 0, None)
    assert retry.error is not None
    assert retry.error["message"] == job.error["message"]
    assert rig.events(retry_id, "job.phase_started") == []


def test_input_that_is_gone_or_wrong_fails_the_job(rig: Rig, small_data: Path, tmp_path: Path) -> None:
    gone = rig.add_dataset(small_data)
    rig.context.storage.delete(f"datasets/{gone}")
    job_id = rig.add_job(gone)
    with running(rig.start_worker()):
        job = rig.wait_for_end(job_id, "failed")
    assert job.error is not None
    assert (job.error["code"], job.error["phase"]) == ("input_missing", "preparing")
