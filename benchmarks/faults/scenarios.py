"""One function per fault: set it up, let it happen at a random moment, and check what must hold afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from own_redis import OwnRedis
from scripted_trainer import chain
from small_job import CHECKPOINT_EVERY, STEPS_PER_PHASE, small_spec
from worker_rig import MISBEHAVING, Rig, WorkerUnderTest, is_alive

from fdkd_core.spec import load_spec


@dataclass
class Bench:
    """What a scenario works with."""

    make_rig: Callable[..., Rig]
    """Makes a service; on SQLite or PostgreSQL in turn, unless told which."""
    data: Path
    undisturbed: Path
    chance: random.Random

    def expected_sha256(self) -> str:
        """Of the student that an undisturbed run trains."""
        result = json.loads((self.undisturbed / "result.json").read_text())
        return str(result["student"]["weights_sha256"])


def killed_trainer(bench: Bench) -> None:
    """F1: a trainer is killed before a random step, at a checkpoint, or in the finalisation."""
    rig = bench.make_rig()
    point = bench.chance.choice([*(f"student:{step}" for step in range(10)), "finalise"])
    job_id = rig.add_job(rig.add_dataset(bench.data), plan=f"kill@{point}")
    worker = rig.start_worker()
    job = rig.wait_for_end(job_id, "succeeded")
    assert rig.fired(job_id) == [f"kill@{point}"]
    assert (job.attempt, link(rig, job_id)) == (2, chain(10))
    end(rig, [job_id], worker)


def killed_real_trainer(bench: Bench) -> None:
    """F1 with the real core: the student's SHA-256 is that of an undisturbed run."""
    rig = bench.make_rig()
    phase = bench.chance.choice(["teacher", "student", "student", "control"])
    point = bench.chance.choice([f"{phase}:{step}" for step in range(STEPS_PER_PHASE)] + ["finalise"])
    job_id = rig.add_job(rig.add_dataset(bench.data), plan=f"kill@{point}")
    worker = rig.start_worker(MISBEHAVING)
    job = rig.wait_for_end(job_id, "succeeded")
    assert rig.fired(job_id) == [f"kill@{point}"]
    assert job.result is not None
    assert (job.attempt, job.result["student"]["weights_sha256"]) == (2, bench.expected_sha256())
    end(rig, [job_id], worker)


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
            pids = [victim.process.pid, *(child.pid for child in victim.trainers())]
            os.kill(bench.chance.choice(pids), signal.SIGKILL)
            kills += 1
        time.sleep(0.1)
        workers = [worker if worker.process.poll() is None else rig.start_worker() for worker in workers]
    assert kills >= 3
    for job_id in jobs:
        assert rig.job(job_id).state == "succeeded"
        assert link(rig, job_id) == chain(10)
    end(rig, jobs, *workers)


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


def repeated_wake_ups(bench: Bench) -> None:
    """F5: ten wake-ups for each of five jobs, to four workers."""
    with OwnRedis.on_a_free_port() as broker:
        rig = bench.make_rig(broker_url=broker.url)
        workers = [rig.start_worker() for _ in range(4)]
        for worker in workers:
            rig.wait(lambda worker=worker: "is ready" in worker.log, what="a worker")
        dataset_id = rig.add_dataset(bench.data)
        jobs = [rig.add_job(dataset_id, plan="steps=2 step_s=0.01") for _ in range(5)]
        for job_id in bench.chance.sample(jobs * 10, 50):
            rig.context.wake_up.job(job_id)
        for job_id in jobs:
            assert rig.wait_for_end(job_id, "succeeded").attempt == 1
        rig.wait(lambda: rig.context.wake_up.num_sent == 50, what="the messages")
        end(rig, jobs, *workers)


def forgetful_broker(bench: Bench) -> None:
    """F9: Redis is killed and comes back empty, under running and waiting jobs."""
    with OwnRedis.on_a_free_port() as broker:
        rig = bench.make_rig(broker_url=broker.url)
        worker = rig.start_worker(worker_slots=2)
        dataset_id = rig.add_dataset(bench.data)
        jobs = [rig.add_job(dataset_id, plan="steps=15 step_s=0.05") for _ in range(6)]
        for job_id in jobs:
            rig.context.wake_up.job(job_id)
        rig.wait(lambda: any(rig.job(job_id).state == "running" for job_id in jobs), what="a running job")
        time.sleep(bench.chance.uniform(0, 1))
        broker.kill()
        time.sleep(bench.chance.uniform(0, 2))
        broker.start()
        for job_id in jobs:
            assert rig.wait_for_end(job_id, "succeeded").attempt == 1
            assert link(rig, job_id) == chain(15)
        end(rig, jobs, worker)


def cut_connections(bench: Bench) -> None:
    """F13: every connection to PostgreSQL is cut at random moments; no attempt is lost."""
    rig = bench.make_rig(database="postgresql", lease_s=6.0)
    job_id = rig.add_job(rig.add_dataset(bench.data), plan="steps=60 step_s=0.05")
    worker = rig.start_worker()
    wait_for_step(rig, job_id, 2)
    cut = 0
    with psycopg.connect(rig.database_url, autocommit=True) as own:
        for _ in range(5):
            rig.context.database.close()
            found = own.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
            assert found is not None
            cut += found[0]
            time.sleep(bench.chance.uniform(0.05, 0.5))
    assert cut
    job = rig.wait_for_end(job_id, "succeeded")
    assert (job.attempt, link(rig, job_id)) == (1, chain(60))
    assert [row.step for row in rig.metrics(job_id)] == list(range(1, 61))
    end(rig, [job_id], worker)


def locked_database(bench: Bench) -> None:
    """F13: SQLite's write lock is held, for less or for more than a lease."""
    rig = bench.make_rig(database="sqlite", stop_grace_s=1.0)
    job_id = rig.add_job(rig.add_dataset(bench.data), plan="steps=100 step_s=0.05")
    worker = rig.start_worker()
    wait_for_step(rig, job_id, 2)
    other = sqlite3.connect(rig.folder / "test.db", isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(bench.chance.uniform(0.2, 5))
    other.execute("ROLLBACK")
    other.close()
    rig.wait_for_end(job_id, "succeeded")
    assert link(rig, job_id) == chain(100)
    end(rig, [job_id], worker)


def damaged_checkpoint(bench: Bench) -> None:
    """F20: a bit, the tail or all of one or both checkpoints is damaged; the result is the same."""
    rig = bench.make_rig(retry_backoff_s=4)
    plan = f"kill@student:{2 * CHECKPOINT_EVERY + 1}"
    job_id = rig.add_job(rig.add_dataset(bench.data), plan=plan)
    worker = rig.start_worker(MISBEHAVING)
    rig.wait(lambda: rig.job(job_id).losses == 1, what="the loss")
    folder = rig.context.settings.work_dir / str(rig.job(job_id).work_key) / "out" / "work" / "student"
    how_many = bench.chance.choice((1, 2))
    for checkpoint in sorted(folder.iterdir())[-how_many:]:
        path = checkpoint / bench.chance.choice(["state.safetensors", "state.json"])
        data = bytearray(path.read_bytes())
        match bench.chance.choice(["bit", "byte", "zeros", "empty"]):
            case "bit":
                data[bench.chance.randrange(len(data))] ^= 1 << bench.chance.randrange(8)
            case "byte":
                del data[-1]
            case "zeros":
                data[-4096:] = bytes(len(data[-4096:]))
            case "empty":
                data.clear()
        path.chmod(0o600)
        path.write_bytes(data)
    job = rig.wait_for_end(job_id, "succeeded")
    warnings = [event.data["message"] for event in rig.events(job_id, "job.warning")]
    assert len([text for text in warnings if "is damaged" in text]) == how_many
    assert job.result is not None
    assert job.result["student"]["weights_sha256"] == bench.expected_sha256()
    end(rig, [job_id], worker)


def foreign_checkpoint(bench: Bench) -> None:
    """F21: the checkpoints are those of another job; they are refused, the job starts over."""
    rig = bench.make_rig(retry_backoff_s=4)
    dataset_id = rig.add_dataset(bench.data)
    plan = f"kill@student:{2 * CHECKPOINT_EVERY + 1}"
    worker = rig.start_worker(MISBEHAVING)
    folders = []
    for spec in (small_spec(name=plan, controls={"no_teacher": False}), small_spec(name=plan)):
        job_id = rig.add_job(dataset_id, spec)
        rig.wait(lambda job_id=job_id: rig.job(job_id).losses == 1, what="the loss")
        work = rig.context.settings.work_dir / str(rig.job(job_id).work_key) / "out" / "work" / "student"
        kept = rig.folder / f"kept-{len(folders)}"
        os.system(f"cp -r {work} {kept}")
        folders.append(work)
    folders[1].rename(folders[1].with_name("aside"))
    (rig.folder / "kept-0").rename(folders[1])
    job = rig.wait_for_end(job_id, "succeeded")
    assert any(
        "belongs to another run" in event.data["message"] for event in rig.events(job_id, "job.warning")
    )
    assert job.result is not None
    assert job.result["student"]["weights_sha256"] == bench.expected_sha256()
    assert worker.stop() == 0


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


def deaf_trainer(bench: Bench) -> None:
    """F28: the trainer hears neither SIGTERM nor anything else; it is killed after its grace."""
    rig = bench.make_rig(stop_grace_s=0.7)
    step = bench.chance.randrange(1, 9)
    dataset_id = rig.add_dataset(bench.data)
    job_id, after = rig.add_job(dataset_id, plan=f"deaf@student:{step}"), rig.add_job(dataset_id)
    worker = rig.start_worker()
    rig.wait(lambda: rig.fired(job_id), what="the fault")
    rig.cancel(job_id)
    rig.wait_for_end(job_id, "cancelled", 10)
    rig.wait_for_end(after, "succeeded")
    end(rig, [job_id, after], worker)


def crashing_trainer(bench: Bench) -> None:
    """F29: a segmentation fault or memory that runs out, again and again; the next job is well."""
    rig = bench.make_rig(trainer_memory_bytes=8 << 30)
    step = bench.chance.randrange(10)
    verb = bench.chance.choice(["segv", "oom", "raise"])
    dataset_id = rig.add_dataset(bench.data)
    job_id = rig.add_job(dataset_id, plan=f"{verb}@student:{step} until=9")
    after = rig.add_job(dataset_id)
    worker = rig.start_worker()
    job = rig.wait_for_end(job_id, "failed")
    assert job.error is not None
    assert job.error["code"] == "crashed"
    assert rig.fired(job_id) == [f"{verb}@student:{step}"] * 2
    rig.wait_for_end(after, "succeeded")
    end(rig, [job_id, after], worker)


def hanging_trainer(bench: Bench) -> None:
    """F30: the trainer hangs before a random step while its worker's heart beats on."""
    rig = bench.make_rig(stall_min_s=1.0)
    step = bench.chance.randrange(2, 10)
    job_id = rig.add_job(rig.add_dataset(bench.data), plan=f"hang@student:{step} step_s=0.01")
    worker = rig.start_worker()
    job = rig.wait_for_end(job_id, "succeeded")
    assert rig.fired(job_id) == [f"hang@student:{step}"]
    assert [event.data["code"] for event in rig.events(job_id, "job.lost")] == ["stalled"]
    assert (job.attempt, link(rig, job_id)) == (2, chain(10))
    end(rig, [job_id], worker)


def diverging_training(bench: Bench) -> None:
    """F31: weights that explode; the job fails within 50 steps and leaves no artifact."""
    rig = bench.make_rig()
    training: dict[str, Any] = {"epochs": 9, "batch_size": 16, "max_grad_norm": None}
    training["optimizer"] = {"name": "sgd", "lr": bench.chance.uniform(50, 100), "weight_decay": 1.0}
    spec = load_spec(
        {
            "kind": "train", "name": "too fast", "dataset": "small", "task": {"kind": "classification"},
            "student": {"modality": "wave", "architecture": {"name": "conv1d", "width": 6, "depth": 2}},
            "training": training,
        }
    )  # fmt: skip
    job_id = rig.add_job(rig.add_dataset(bench.data), spec)
    worker = rig.start_worker(MISBEHAVING)
    job = rig.wait_for_end(job_id, "failed")
    assert job.error is not None
    assert job.error["code"] == "diverged"
    assert job.progress is not None
    assert job.progress["step"] <= 50
    end(rig, [job_id], worker)


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
    end(rig, jobs, *workers)


def link(rig: Rig, job_id: str) -> str:
    """The last link of the scripted trainer's chain, which depends on every step."""
    return str(json.loads(rig.read_artifact(job_id, "data_report.json"))["link"])


def wait_for_step(rig: Rig, job_id: str, step: int) -> None:
    """Waits until the job's row shows the step."""
    rig.wait(lambda: (rig.job(job_id).progress or {}).get("step", 0) >= step, what=f"step {step}")


def end(rig: Rig, jobs: list[str], *workers: WorkerUnderTest) -> None:
    """Stops the workers, and checks the histories and that no process and no working folder is left."""
    for worker in workers:
        if worker.process.poll() is None:
            # One that has only begun to start has nothing to tidy up, and dies of the signal.
            allowed = (0,) if "is ready" in worker.log else (0, -signal.SIGTERM)
            assert worker.stop() in allowed, worker.log
    rig.require_clean_history(jobs)
    assert not [pid for _, _, pid, what in rig.trace() if what == "start" and is_alive(pid)]
    for job_id in jobs:
        is_kept = rig.job(job_id).state != "succeeded"
        assert is_kept or not (rig.context.settings.work_dir / job_id).exists()


SCENARIOS: dict[str, tuple[Callable[[Bench], None], ...]] = {
    "F1": (killed_trainer, killed_real_trainer),
    "F2": (storm_of_kills,),
    "F3": (killed_worker,),
    "F4": (frozen_worker,),
    "F5": (repeated_wake_ups,),
    "F9": (forgetful_broker,),
    "F13": (cut_connections, locked_database),
    "F20": (damaged_checkpoint,),
    "F21": (foreign_checkpoint,),
    "F27": (cancelled,),
    "F28": (deaf_trainer,),
    "F29": (crashing_trainer,),
    "F30": (hanging_trainer,),
    "F31": (diverging_training,),
    "F34": (stopped_worker,),
    "F40": (everything_killed,),
}
