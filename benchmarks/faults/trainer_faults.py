"""Faults of trainers: they die, hang, diverge, or find checkpoints that are damaged or not theirs."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from bench import Bench, end, link
from scripted_trainer import chain
from small_job import CHECKPOINT_EVERY, STEPS_PER_PHASE, small_spec
from worker_process import MISBEHAVING
from worker_rig import Rig

from fdkd_core.spec import load_spec


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


def _was_lost(rig: Rig, job_id: str) -> bool:
    return bool(rig.job(job_id).losses == 1)


def foreign_checkpoint(bench: Bench) -> None:
    """F21: the checkpoints are those of another job; they are refused, the job starts over."""
    rig = bench.make_rig(retry_backoff_s=4)
    dataset_id = rig.add_dataset(bench.data)
    plan = f"kill@student:{2 * CHECKPOINT_EVERY + 1}"
    worker = rig.start_worker(MISBEHAVING)
    folders: list[Path] = []
    for spec in (small_spec(name=plan, controls={"no_teacher": False}), small_spec(name=plan)):
        job_id = rig.add_job(dataset_id, spec)
        rig.wait(partial(_was_lost, rig, job_id), what="the loss")
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
