"""Faults of the machine, each a real one under a real process: its own exit code, event and message."""

from __future__ import annotations

import hashlib
import hmac
import json
import mmap
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_job import small_spec, write_small_data
from warm_process import run_warm

from fdkd_core.__main__ import main
from fdkd_core.errors import OutOfMemoryError, TrainingInterrupted
from fdkd_core.memory_limit import memory_errors
from fdkd_core.options import RunOptions
from fdkd_core.run import run

MB = 1 << 20
SECRET = b"0123456789abcdef-secret"


class Job:
    """Files of a small job, and how to run it as a user does."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        self.spec = small_spec(**changes)
        self.out = folder / "out"
        self.data = write_small_data(folder / "small.npz")
        (folder / "spec.yaml").write_text(yaml.safe_dump(self.spec.model_dump(mode="json")))

    def arguments(self, *more: object) -> list[object]:
        files = [self.folder / "spec.yaml", self.data, self.out]
        fixed = ["--threads", "1", "--device", "cpu", "--quiet", "--events-fd", "1"]
        return [*files, *fixed, *more]

    def command(self, *more: object) -> list[str]:
        return [sys.executable, "-m", "fdkd_core", *map(str, self.arguments(*more))]

    def call(
        self, *more: object, limit: Callable[[], None] | None = None
    ) -> tuple[int, list[dict[str, Any]], str]:
        """Exit code, events, and what was written to stderr."""
        done = (
            run_warm(main, *self.arguments(*more))
            if limit is None
            else subprocess.run(
                self.command(*more), capture_output=True, text=True, timeout=120, preexec_fn=limit
            )
        )
        return done.returncode, events_in(done.stdout), done.stderr

    def stop_after(self, steps: int, secret: bytes | None = None) -> None:
        """Leaves the folder as an interrupted run does."""
        asked = iter(range(steps))
        options = RunOptions(device="cpu", threads=1, checkpoint_secret=secret)
        with pytest.raises(TrainingInterrupted):
            run(
                self.spec, self.data, self.out, options=options, should_stop=lambda: next(asked, None) is None
            )

    def checkpoints(self, phase: str) -> list[Path]:
        return sorted((self.out / "work" / phase).glob("step-*"))


def events_in(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_too_little_memory_exits_5(tmp_path: Path) -> None:
    wide = {"modality": "wave", "architecture": {"name": "mlp", "width": 2048, "depth": 8}}
    job = Job(tmp_path, student=wide)
    script = (
        "import fdkd_core.run; print(next(l for l in open('/proc/self/status') if l.startswith('VmPeak')))"
    )
    peak = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    limit = int(peak.stdout.split()[1]) * 1024 + 200 * MB  # for a student whose weights alone are 120 MB
    code, events, told = job.call(limit=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert code == 5, told
    assert events[-1]["event"] == "run_failed"
    assert events[-1]["code"] == "out_of_memory"
    assert "batch_size" in events[-1]["message"]
    assert told.startswith("out_of_memory: ")
    assert "Traceback" not in told
    assert not (job.out / "result.json").exists()


def ask_for_a_petabyte() -> None:
    torch.empty(1 << 50)


def ask_for_bytes() -> None:
    bytearray(1 << 60)


def as_the_gpu_does() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def map_too_much() -> None:
    mmap.mmap(-1, 1 << 60)


@pytest.mark.parametrize("allocate", [ask_for_a_petabyte, ask_for_bytes, as_the_gpu_does, map_too_much])
def test_every_failed_allocation_is_one_error(allocate: Callable[[], None]) -> None:
    with pytest.raises(OutOfMemoryError) as caught, memory_errors():
        allocate()
    assert (caught.value.code, caught.value.exit_code) == ("out_of_memory", 5)


def test_other_errors_pass() -> None:
    for error in (RuntimeError("shapes differ"), FileNotFoundError("nowhere")):
        with pytest.raises(type(error)), memory_errors():
            raise error


def test_what_the_failed_call_held_is_let_go() -> None:
    freed = []

    class Held:
        def __del__(self) -> None:
            freed.append(True)

    def fail() -> None:
        held = Held()
        raise MemoryError(repr(held))

    with pytest.raises(OutOfMemoryError), memory_errors():
        fail()
    assert freed


def test_the_own_limit_lowers_only() -> None:
    script = (
        "import resource as r; from fdkd_core.memory_limit import limit_own_memory as f\n"
        "f(); a = r.getrlimit(r.RLIMIT_DATA)[0]; r.setrlimit(r.RLIMIT_DATA, (a // 2, a)); f()\n"
        "print(a, r.getrlimit(r.RLIMIT_DATA)[0])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    first, second = map(int, found.stdout.split())
    assert 0 < second == first // 2
    assert first < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_files_that_may_not_grow_exit_4(job: Job) -> None:
    """As under a quota; once there is room, the same command finishes."""
    few = 4000
    code, events, told = job.call(limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (few, few)))
    assert code == 4, told
    assert events[-1] == {"event": "run_failed", "code": "storage_full", "message": events[-1]["message"]}
    assert "storage_full" in told
    assert "Traceback" not in told
    code, events, _ = job.call()
    assert (code, events[-1]["event"]) == (0, "run_finished")


def has_private_mounts() -> bool:
    tried = (
        subprocess.run(["unshare", "-Urm", "true"], capture_output=True) if shutil.which("unshare") else None
    )
    return tried is not None and tried.returncode == 0


@pytest.mark.skipif(not has_private_mounts(), reason="needs a mount namespace of its own")
def impossible_folders(folder: Path) -> dict[str, Path]:
    (folder / "a file").write_text("")
    return {
        "below a file": folder / "a file" / "out",
        "in a kernel's folder": Path("/proc/no-such-folder/out"),
        "of a name too long": folder / ("x" * 300),
    }


@pytest.mark.parametrize("which", ["below a file", "in a kernel's folder", "of a name too long"])
def test_a_folder_that_cannot_be_made_exits_4(job: Job, which: str) -> None:
    job.out = impossible_folders(job.folder)[which]
    code, events, told = job.call()
    assert code == 4, told
    assert (events[-1]["event"], events[-1]["code"]) == ("run_failed", "storage_full")
    assert "cannot be used" in events[-1]["message"]
    assert "Traceback" not in told
    # Nor is there a place for the report on a bad spec, which status 2 would promise.
    (job.folder / "spec.yaml").write_text("kind: distill")
    code, _, told = job.call()
    assert code == 4, told
    assert "missing_field" in told
    assert "Traceback" not in told


def test_a_full_disk_exits_4_and_the_run_resumes_when_there_is_room(tmp_path: Path) -> None:
    # The teacher's checkpoints fit on the disk, the student's do not.
    wide = {"modality": "wave", "architecture": {"name": "conv1d", "width": 64, "depth": 2}}
    job = Job(tmp_path, student=wide)
    job.out = job.folder / "disk" / "out"
    job.out.parent.mkdir()
    command = " ".join(job.command())
    script = (
        f"cd {Path.cwd()}; mount -t tmpfs -o size=256k tmpfs {job.out.parent}; {command}; echo exit $?; "
        f"ls {job.out}/result.json; mount -o remount,size=64m {job.out.parent}; {command}; echo exit $?"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "bash", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("exit")] == ["exit 4", "exit 0"]
    assert "No space left on device" in done.stderr
    assert "result.json': No such file" in done.stderr
    events = events_in(done.stdout)
    failed = next(number for number, event in enumerate(events) if event["event"] == "run_failed")
    assert events[failed]["code"] == "storage_full"
    phases = {event["phase"]: event for event in events[failed:] if event["event"] == "phase_started"}
    assert phases["teacher"]["resumed"]
    assert events[-1]["event"] == "run_finished"


def test_a_checkpoint_of_another_run_exits_4(tmp_path: Path, job: Job) -> None:
    (tmp_path / "other").mkdir()
    other = Job(tmp_path / "other", training={"epochs": 3, "batch_size": 16, "seed": 1})
    for each in (job, other):
        each.stop_after(10)
    shutil.rmtree(job.out / "work")
    shutil.copytree(other.out / "work", job.out / "work")
    code, events, told = job.call()
    assert code == 4
    assert events[-1]["event"] == "run_failed"
    assert events[-1]["code"] == "invalid_checkpoint"
    assert "belongs to another run" in told
    assert "Traceback" not in told


def test_damaged_checkpoints_are_passed_over_down_to_a_fresh_start(job: Job) -> None:
    job.stop_after(16)
    for path in job.checkpoints("teacher"):
        content = bytearray((path / "state.safetensors").read_bytes())
        content[-1] ^= 1
        (path / "state.safetensors").write_bytes(content)
    damaged = len(job.checkpoints("teacher"))
    assert damaged == 2
    code, events, _ = job.call()
    assert code == 0
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    told = [message for message in warnings if message.startswith("checkpoint ")]
    assert len(told) == damaged
    assert all("damaged" in message for message in told)
    started = next(event for event in events if event["event"] == "phase_started")
    assert (started["phase"], started["resumed"]) == ("teacher", False)


def forge(checkpoint: Path) -> None:
    """What someone could do who may write to the folder: other weights, and every checksum right."""
    path = checkpoint / "state.json"
    document = json.loads(path.read_text())
    document["loop"]["best_epoch"] = 99
    path.write_text(json.dumps(document, sort_keys=True))
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    del manifest["seal"]
    content = path.read_bytes()
    manifest["files"]["state.json"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    seal = hmac.new(b"", json.dumps(manifest, sort_keys=True).encode(), hashlib.sha256).hexdigest()
    (checkpoint / "manifest.json").write_text(json.dumps({**manifest, "seal": seal}))


@pytest.mark.parametrize("signed", [False, True])
def test_a_secret_tells_forged_checkpoints(signed: bool, job: Job) -> None:
    secret = job.folder / "secret"
    secret.write_bytes(SECRET + b"\n")
    job.stop_after(16, SECRET if signed else None)
    for path in job.checkpoints("teacher"):
        forge(path)
    code, events, _ = job.call(*(["--checkpoint-secret-file", secret] if signed else []))
    assert code == 0
    started = next(event for event in events if event["event"] == "phase_started")
    assert started["resumed"] is not signed


def test_the_same_secret_resumes(job: Job) -> None:
    secret = job.folder / "secret"
    secret.write_bytes(SECRET)
    job.stop_after(16, SECRET)
    code, events, _ = job.call("--checkpoint-secret-file", secret)
    assert code == 0
    assert next(event for event in events if event["event"] == "phase_started")["step"] == 16


@pytest.mark.parametrize("content", [None, b"short", b"x" * 5000])
def test_a_secret_that_is_none_is_a_usage_error(content: bytes | None, job: Job) -> None:
    if content is not None:
        (job.folder / "secret").write_bytes(content)
    code, events, told = job.call("--checkpoint-secret-file", job.folder / "secret")
    assert (code, events) == (2, [])
    assert "--checkpoint-secret-file" in told
    assert content is None or content.decode() not in told.replace("secret", "")
    assert not job.out.exists()
