"""Workers that are killed, frozen or told to stop (F3, F4, F34): no job is lost, none is done twice."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from scripted_trainer import chain
from worker_process import WorkerUnderTest, is_alive, running
from worker_rig import Rig

from service.jobs.states import JobState


def link(rig: Rig, job_id: str) -> str:
    return json.loads(rig.read_artifact(job_id, "data_report.json"))["link"]


def wait_for_step(rig: Rig, job_id: str, step: int) -> None:
    rig.wait(lambda: (rig.job(job_id).progress or {}).get("step", 0) >= step, what=f"step {step}")


def trainer_pids(rig: Rig, job_id: str) -> list[int]:
    return [pid for job, _, pid, what in rig.trace() if job == job_id and what == "start"]


def test_a_killed_worker_takes_its_trainer_along_and_loses_no_job(both_rig: Rig, small_data: Path) -> None:
    rig = both_rig
    job_id = rig.add_job(rig.add_dataset(small_data), plan="steps=40 step_s=0.05")
    first = rig.start_worker()
    wait_for_step(rig, job_id, 5)
    (pid,) = trainer_pids(rig, job_id)
    assert is_alive(pid)
    first.send(signal.SIGKILL)
    killed_at = time.monotonic()
    rig.wait(lambda: not is_alive(pid), 2, "the trainer's end")
    with running(rig.start_worker()):
        rig.wait(lambda: rig.job(job_id).attempt == 2, 30, "the second attempt")
        # Lease 2 s, sweep 0.5 s, back-off at most 0.1 s, and the start of Python on a busy machine.
        assert time.monotonic() - killed_at < 10
        job = rig.wait_for_end(job_id, "succeeded")
    assert (job.attempt, job.losses) == (2, 1)
    (lost,) = rig.events(job_id, "job.lost")
    assert lost.data["code"] == "worker_lost"
    assert re.match(r"The worker was not heard of for \d+ s: it died", lost.data["message"])
    (resumed,) = rig.events(job_id, "job.resumed")
    assert resumed.data["step"] >= 3
    assert link(rig, job_id) == chain(40)
    rig.require_clean_history([job_id])


def test_a_frozen_worker_is_fenced_when_it_wakes(both_rig: Rig, small_data: Path) -> None:
    """Frozen for 2.5 leases; its trainer, which is not, ends by itself when it hears no pulse."""
    freeze(both_rig, small_data, with_trainer=False)


def test_a_worker_and_a_trainer_that_are_frozen_together_end_when_they_wake(
    make_rig: Callable[..., Rig], postgresql_url: str, small_data: Path
) -> None:
    freeze(make_rig(postgresql_url), small_data, with_trainer=True)


def freeze(rig: Rig, small_data: Path, *, with_trainer: bool) -> None:
    job_id = rig.add_job(rig.add_dataset(small_data), plan="steps=60 step_s=0.05")
    frozen = rig.start_worker(stop_grace_s=0.5)
    wait_for_step(rig, job_id, 5)
    (pid,) = trainer_pids(rig, job_id)
    rig.freeze(frozen)
    if with_trainer:
        os.kill(pid, signal.SIGSTOP)
    frozen_at = time.monotonic()
    with running(rig.start_worker()):
        rig.wait(lambda: rig.job(job_id).attempt == 2, 30, "the second attempt")
        if not with_trainer:
            # Lease 2 s and grace 0.5 s after the last pulse; two attempts of a job do not train for long.
            rig.wait(
                lambda: not is_alive(pid), max(0.1, frozen_at + 4 - time.monotonic()), "the trainer's end"
            )
        time.sleep(max(0.0, frozen_at + 2.5 * 2.0 - time.monotonic()))
        if with_trainer:
            os.kill(pid, signal.SIGCONT)
        frozen.send(signal.SIGCONT)
        # By the lease that it cannot renew, or by the first thing that it would have written.
        rig.wait(
            lambda: any("fenced: " in line and job_id in line for line in frozen.log.splitlines()),
            10,
            "the fence",
        )
        rig.wait(lambda: not is_alive(pid), 5, "the trainer's end")
        rig.wait_for_end(job_id, "succeeded")
    assert frozen.stop() == 0
    assert link(rig, job_id) == chain(60)
    rig.require_clean_history([job_id])


def test_a_worker_that_stood_still_is_not_told_as_a_crash_of_its_trainer(
    make_rig: Callable[..., Rig], small_data: Path
) -> None:
    """Its trainer ends itself by a signal; nobody else looks after the job, and the worker knows why."""
    rig = make_rig(lease_s=1.5, stop_grace_s=0.5)
    job_id = rig.add_job(rig.add_dataset(small_data), plan="steps=120 step_s=0.05")
    with running(rig.start_worker(sweep_s=3600)) as worker:
        wait_for_step(rig, job_id, 4)
        (trainer,) = worker.trainers()
        worker.send(signal.SIGSTOP)
        rig.wait(lambda: not is_alive(trainer.pid), 10, "the trainer's end")
        worker.send(signal.SIGCONT)
        job = rig.wait_for_end(job_id, "succeeded")
    assert (job.attempt, job.losses, job.last_crash_step) == (2, 0, None)
    assert rig.events(job_id, "job.lost") == []
    (yielded,) = rig.events(job_id, "job.yielded")
    assert yielded.data["reason"] == "lease_ran_out"
    assert "did not get to renew its lease for 1.5 s" in yielded.data["message"]
    assert link(rig, job_id) == chain(120)
    rig.require_clean_history([job_id])


def test_a_stopped_worker_gives_its_job_back(both_rig: Rig, small_data: Path) -> None:
    """After a checkpoint, without charge: the next attempt loses at most the step that was under way."""
    rig = both_rig
    dataset_id = rig.add_dataset(small_data)
    job_id = rig.add_job(dataset_id, plan="steps=60 step_s=0.05 every=1000")
    first = rig.start_worker()
    wait_for_step(rig, job_id, 5)
    started = time.monotonic()
    assert first.stop() == 0, first.log
    assert time.monotonic() - started < 6
    job = rig.job(job_id)
    assert (job.state, job.losses, job.worker_id) == (JobState.QUEUED, 0, None)
    (yielded,) = rig.events(job_id, "job.yielded")
    assert yielded.data["reason"] == "shutdown"
    last_step = (job.progress or {})["step"]
    with running(rig.start_worker()):
        rig.wait_for_end(job_id, "succeeded")
    (resumed,) = rig.events(job_id, "job.resumed")
    assert resumed.data["step"] >= last_step
    assert link(rig, job_id) == chain(60)
    assert rig.job(job_id).losses == 0


@pytest.mark.long
def test_a_deploy_at_any_moment(rig: Rig, small_data: Path) -> None:
    """Seven workers one after the other: the first is told to stop at work, the others at any moment."""
    seed = random.randrange(2**32)
    print("seed", seed)
    moments = random.Random(seed)
    jobs = [rig.add_job(rig.add_dataset(small_data), plan="steps=40 step_s=0.02") for _ in range(3)]
    first = rig.start_worker()
    wait_for_step(rig, jobs[0], 1)
    assert first.stop() == 0, first.log
    for _ in range(6):
        worker = rig.start_worker()
        time.sleep(moments.uniform(0.5, 2))
        assert worker.stop() in (0, -signal.SIGTERM), worker.log
    last = rig.start_worker()
    for job_id in jobs:
        job = rig.wait_for_end(job_id, "succeeded")
        assert job.losses == 0
        assert link(rig, job_id) == chain(40)
    # Those before may have done it all: then this one, too, is told to stop while it starts.
    assert last.stop() in (0, -signal.SIGTERM), last.log
    assert any(rig.events(job_id, "job.yielded") for job_id in jobs)
    rig.require_clean_history(jobs)


@pytest.mark.storm
def test_a_storm_of_kills(make_rig: Callable[..., Rig], small_data: Path) -> None:
    """Workers killed at random while two are always there; every job ends with the right result."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    rig = make_rig(max_attempts=50, lease_s=1.5)
    dataset_id = rig.add_dataset(small_data)
    jobs = [rig.add_job(dataset_id, plan="steps=12 step_s=0.15") for _ in range(8)]
    alive: list[WorkerUnderTest] = []
    kills = 0
    deadline = time.monotonic() + 120
    while any(rig.job(job_id).state in ("queued", "running") for job_id in jobs):
        assert time.monotonic() < deadline, rig.report()
        while len(alive) < 2:
            alive.append(rig.start_worker())
        time.sleep(chance.uniform(0.3, 1.0))
        if kills < 4:
            victim = alive.pop(0)
            pids = [victim.process.pid, *rig.trainers_without_a_crash(victim, jobs)]
            with suppress(ProcessLookupError):  # it has just finished
                os.kill(chance.choice(pids), signal.SIGKILL)
            kills += 1
            if victim.process.poll() is None:
                alive.append(victim)
    assert kills == 4
    for job_id in jobs:
        assert rig.job(job_id).state == "succeeded"
        assert link(rig, job_id) == chain(12)
    rig.require_clean_history(jobs)
