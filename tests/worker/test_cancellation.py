"""Cancelling a job wherever it is (F27, F28): it stops soon, once, and its worker is free for the next."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_trainer import chain
from worker_process import is_alive, running
from worker_rig import Rig


def wait_for_step(rig: Rig, job_id: str, step: int) -> None:
    rig.wait(lambda: (rig.job(job_id).progress or {}).get("step", 0) >= step, what=f"step {step}")


def test_a_running_job_stops_at_a_step_and_can_be_taken_up_again(both_rig: Rig, small_data: Path) -> None:
    rig = both_rig
    dataset_id = rig.add_dataset(small_data)
    job_id = rig.add_job(dataset_id, plan="steps=100 step_s=0.05 every=1000")
    with running(rig.start_worker()) as worker:
        wait_for_step(rig, job_id, 5)
        asked_at = time.monotonic()
        rig.cancel(job_id)
        job = rig.wait_for_end(job_id, "cancelled", 5)
        assert time.monotonic() - asked_at < 5
        assert worker.trainers() == []
        assert (job.error, job.result, rig.artifacts(job_id)) == (None, None, {})
        # What it had learnt is kept: a retry goes on from there.
        step = (job.progress or {})["step"]
        retry = rig.add_job(dataset_id, plan="steps=100 step_s=0.001", retry_of=job_id)
        rig.wait_for_end(retry, "succeeded")
    (resumed,) = rig.events(retry, "job.resumed")
    assert resumed.data["step"] >= step
    assert json.loads(rig.read_artifact(retry, "data_report.json"))["link"] == chain(100)
    rig.require_clean_history([job_id, retry])


def test_a_deaf_trainer_is_killed_after_its_grace(rig: Rig, small_data: Path) -> None:
    dataset_id = rig.add_dataset(small_data)
    deaf = rig.add_job(dataset_id, plan="deaf@student:5")
    after = rig.add_job(dataset_id)
    with running(rig.start_worker(stop_grace_s=1.0)) as worker:
        rig.wait(lambda: rig.fired(deaf), what="the fault")
        (trainer,) = worker.trainers()
        asked_at = time.monotonic()
        rig.cancel(deaf)
        rig.wait_for_end(deaf, "cancelled", 10)
        assert time.monotonic() - asked_at >= 1.0
        assert not trainer.is_running()
        rig.wait_for_end(after, "succeeded")


def test_a_job_that_still_loads_its_data_is_ended_at_once(rig: Rig, small_data: Path) -> None:
    """There is nothing to save, and the trainer would not look up before its first step."""
    job_id = rig.add_job(rig.add_dataset(small_data), plan="deaf@start")
    with running(rig.start_worker(stop_grace_s=60.0)):
        rig.wait(lambda: rig.fired(job_id), what="the fault")
        rig.cancel(job_id)
        rig.wait_for_end(job_id, "cancelled", 5)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_job_whose_worker_is_gone_is_cancelled_with_its_lease(
    make_rig: Callable[..., Rig], postgresql_url: str, small_data: Path, number: signal.Signals
) -> None:
    """Frozen or killed: the sweep of another worker ends the job, its trainer ends by itself."""
    rig = make_rig(postgresql_url)
    job_id = rig.add_job(rig.add_dataset(small_data), plan="steps=1000 step_s=0.05")
    lost = rig.start_worker(stop_grace_s=0.5)
    wait_for_step(rig, job_id, 3)
    trainers = lost.trainers()
    assert trainers
    lost.send(number)
    rig.cancel(job_id)
    with running(rig.start_worker()):
        rig.wait_for_end(job_id, "cancelled", 2.0 + 5)
        rig.wait(lambda: not any(is_alive(trainer.pid) for trainer in trainers), 5, "the trainer's end")
        if number == signal.SIGSTOP:
            os.kill(lost.process.pid, signal.SIGCONT)
            rig.wait(lambda: "fenced" in lost.log, 10, "the fence")
    rig.require_clean_history([job_id])


def test_a_crash_of_a_job_that_was_cancelled_is_a_cancellation(
    make_rig: Callable[..., Rig], small_data: Path
) -> None:
    rig = make_rig(control_poll_s=30.0, heartbeat_s=30.0, lease_s=60.0)
    job_id = rig.add_job(rig.add_dataset(small_data), plan="kill@student:9 step_s=0.1")
    with running(rig.start_worker()):
        wait_for_step(rig, job_id, 2)
        rig.cancel(job_id)  # which the worker hears of only when it writes the loss down
        rig.wait_for_end(job_id, "cancelled")
    assert rig.fired(job_id) == ["kill@student:9"]


def test_success_that_was_committed_stays(rig: Rig, small_data: Path) -> None:
    """Twenty jobs cancelled around their last step: each is the one or the other, artifacts and all."""
    dataset_id = rig.add_dataset(small_data)
    jobs = [rig.add_job(dataset_id, plan="steps=3 step_s=0.01") for _ in range(20)]
    with running(rig.start_worker(worker_slots=2)):
        for number, job_id in enumerate(jobs):
            wait_for_step(rig, job_id, 3)
            time.sleep(0.01 * number)
            rig.cancel(job_id)
        states = [rig.wait_for_end(job_id).state for job_id in jobs]
    assert set(states) <= {"cancelled", "succeeded"}
    rig.require_clean_history(jobs)
