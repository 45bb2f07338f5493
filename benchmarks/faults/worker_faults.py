"""Faults of workers: they are killed, frozen, stopped, or told to cancel, alone and all at once."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from bench import Bench, end, link, wait_for_step
from scripted_trainer import chain
from worker_process import is_alive


def storm_of_kills(bench: Bench) -> None:
    """F2: every 0.4 s one of four workers and their trainers is killed, under ten jobs."""
    rig = bench.make_rig(max_attempts=100, lease_s=1.5)
    dataset_id = rig.add_dataset(bench.data)
    jobs = [rig.add_job(dataset_id, plan="steps=10 step_s=0.03") for _ in range(10)]
    workers = [rig.start_worker() for _ in range(4)]
    kills = 0
    while any(rig.job(job_id).state in ("queued", "running") for job_id in jobs):
        time.sleep(0.4)
        # Faster than a machine of two cores can start workers, nothing would ever run.
        if kills < 12:
            victim = bench.chance.choice(workers)
            pids = [victim.process.pid, *rig.trainers_without_a_crash(victim, jobs)]
            with suppress(ProcessLookupError):  # it has just finished
                os.kill(bench.chance.choice(pids), signal.SIGKILL)
            kills += 1
        time.sleep(0.1)
        workers = [worker if worker.process.poll() is None else rig.start_worker() for worker in workers]
    assert kills >= 3
    for job_id in jobs:
        assert rig.job(job_id).state == "succeeded"
        assert link(rig, job_id) == chain(10)
    end(rig, jobs, *workers, some_died_late=True)


def killed_worker(bench: Bench) -> None:
    """F3: the worker is killed; its trainer is dead within two seconds, the job goes on elsewhere."""
    rig = bench.make_rig()
    job_id = rig.add_job(rig.add_dataset(bench.data), plan="steps=30 step_s=0.05")
    first = rig.start_worker()
    wait_for_step(rig, job_id, bench.chance.randrange(1, 25))
    trainers = first.trainers()
    assert trainers
    first.send(signal.SIGKILL)
    rig.wait(lambda: not any(is_alive(trainer.pid) for trainer in trainers), 2, "the trainer's end")
    worker = rig.start_worker()
    job = rig.wait_for_end(job_id, "succeeded")
    assert (job.attempt, job.losses, link(rig, job_id)) == (2, 1, chain(30))
    end(rig, [job_id], worker)


def frozen_worker(bench: Bench) -> None:
    """F4: the worker is frozen for two and a half leases, then comes back to life."""
    rig = bench.make_rig()
    job_id = rig.add_job(rig.add_dataset(bench.data), plan="steps=60 step_s=0.05")
    frozen = rig.start_worker(stop_grace_s=0.5)
    wait_for_step(rig, job_id, bench.chance.randrange(1, 20))
    rig.freeze(frozen)
    frozen_at = time.monotonic()
    worker = rig.start_worker()
    rig.wait(lambda: rig.job(job_id).attempt == 2, 30, "the second attempt")
    time.sleep(max(0.0, frozen_at + 2.5 * rig.settings["lease_s"] - time.monotonic()))
    frozen.send(signal.SIGCONT)
    rig.wait(lambda: f"fenced: job {job_id}" in frozen.log, 10, "the fence")
    rig.wait_for_end(job_id, "succeeded")
    assert link(rig, job_id) == chain(60)
    end(rig, [job_id], worker, frozen)


def cancelled(bench: Bench) -> None:
    """F27: a job is cancelled at a random moment of its life, its worker being well, frozen or dead."""
    rig = bench.make_rig()
    job_id = rig.add_job(rig.add_dataset(bench.data), plan="steps=200 step_s=0.03")
    first = rig.start_worker(stop_grace_s=0.5)
    rig.wait(lambda: rig.job(job_id).state == "running", what="the start")
    time.sleep(bench.chance.uniform(0, 1.5))
    number = bench.chance.choice([None, signal.SIGSTOP, signal.SIGKILL])
    trainers = first.trainers()
    if number == signal.SIGSTOP:
        rig.freeze(first)
    elif number is not None:
        first.send(number)
    worker = rig.start_worker()
    rig.cancel(job_id)
    rig.wait_for_end(job_id, "cancelled", rig.settings["lease_s"] + 5)
    rig.wait(lambda: not any(is_alive(trainer.pid) for trainer in trainers), 5, "the trainer's end")
    end(rig, [job_id], worker, first)


def stopped_worker(bench: Bench) -> None:
    """F34: a deploy at a random moment: nothing is charged, at most a step is done again."""
    rig = bench.make_rig()
    job_id = rig.add_job(rig.add_dataset(bench.data), plan="steps=60 step_s=0.03 every=1000")
    first = rig.start_worker()
    wait_for_step(rig, job_id, bench.chance.randrange(1, 40))
    started = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - started < rig.settings["shutdown_grace_s"] + 1
    last_step = (rig.job(job_id).progress or {})["step"]
    worker = rig.start_worker()
    job = rig.wait_for_end(job_id, "succeeded")
    assert (job.losses, link(rig, job_id)) == (0, chain(60))
    resumed = [event.data["step"] for event in rig.events(job_id, "job.resumed")]
    assert resumed
    assert resumed[0] >= last_step
    end(rig, [job_id], worker)


def everything_killed(bench: Bench) -> None:
    """F40, as far as workers go: every process is killed at once, three times, and started again."""
    rig = bench.make_rig(max_attempts=20, lease_s=1.5)
    dataset_id = rig.add_dataset(bench.data)
    jobs = [rig.add_job(dataset_id, plan="steps=20 step_s=0.03") for _ in range(4)]
    for _ in range(3):
        workers = [rig.start_worker() for _ in range(2)]
        time.sleep(bench.chance.uniform(1.5, 3))
        for worker in workers:
            for child in worker.trainers():
                child.kill()
            worker.process.kill()
    workers = [rig.start_worker() for _ in range(2)]
    for job_id in jobs:
        rig.wait_for_end(job_id, "succeeded")
        assert link(rig, job_id) == chain(20)
    end(rig, jobs, *workers, some_died_late=True)
