"""What every fault works with, and what must hold after each."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker_process import WorkerUnderTest, is_alive
from worker_rig import Rig

from service.jobs.orphans import MIN_AGE_S, remove_orphans


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


def link(rig: Rig, job_id: str) -> str:
    """The last link of the scripted trainer's chain, which depends on every step."""
    return str(json.loads(rig.read_artifact(job_id, "data_report.json"))["link"])


def wait_for_step(rig: Rig, job_id: str, step: int) -> None:
    """Waits until the job's row shows the step."""
    rig.wait(lambda: (rig.job(job_id).progress or {}).get("step", 0) >= step, what=f"step {step}")


def end(rig: Rig, jobs: list[str], *workers: WorkerUnderTest, some_died_late: bool = False) -> None:
    """Stops the workers, and checks the histories and that no process and no working folder is left.

    Args:
        rig: The service.
        jobs: Of the scenario.
        workers: That may still run.
        some_died_late: Workers were killed at any moment. What one leaves that dies right after its commit is
            removed by the sweep, once it is old.
    """
    for worker in workers:
        if worker.process.poll() is None:
            # One that has only begun to start has nothing to tidy up, and dies of the signal.
            allowed = (0,) if "is ready" in worker.log else (0, -signal.SIGTERM)
            assert worker.stop() in allowed, worker.log
    rig.require_clean_history(jobs)
    assert not [pid for _, _, pid, what in rig.trace() if what == "start" and is_alive(pid)]
    left = [
        folder
        for job_id in jobs
        if rig.job(job_id).state == "succeeded"
        and (folder := rig.context.settings.work_dir / job_id).exists()
    ]
    if some_died_late:
        then = time.time() - 2 * MIN_AGE_S
        for folder in left:
            os.utime(folder, (then, then))
        remove_orphans(rig.context)
        left = [folder for folder in left if folder.exists()]
    assert left == []
