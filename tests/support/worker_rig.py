"""A service without its API, for tests of the worker: rows put in by hand, and real workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from job_rows import JobRows
from small_job import small_spec
from sqlalchemy import select, text
from warm_process import WarmProcess, run_warm
from worker_process import SCRIPTED, WorkerUnderTest

from fdkd_core.__main__ import main as core_main
from service import schema
from service.context import Context, open_context
from service.jobs.states import TERMINAL, JobState
from service.settings import Settings
from service.tables import Job, JobEvent
from worker.__main__ import main as worker_main

FAST: dict[str, Any] = {
    "lease_s": 2.0,
    "heartbeat_s": 0.5,
    "control_poll_s": 0.2,
    "sweep_s": 0.5,
    "poll_s": 0.1,
    "stop_grace_s": 2.0,
    "shutdown_grace_s": 6.0,
    "retry_backoff_s": 0.1,
    "trainer_threads": 1,
    "device": "cpu",
}
"""The test profile: everything that takes 10 s in a real installation takes half a second."""

_OPEN_TRANSACTIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND state LIKE 'idle in transaction%'"
)


@dataclass
class Rig(JobRows):
    """The database, the storage, real workers, and what became of what they were given."""

    folder: Path
    database_url: str
    settings: dict[str, Any] = field(default_factory=dict)
    workers: list[WorkerUnderTest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = {
            **FAST, "data_dir": self.folder / "data", "database_url": self.database_url,
            "trainer_standby": False,  # most tests end after one job
            **self.settings,
        }  # fmt: skip
        self.context: Context = open_context(Settings(**self.settings))
        schema.migrate(self.context.settings.resolved_database_url)

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.send(signal.SIGKILL)
                worker.process.wait()
        self.context.close()

    def start_worker(self, command: list[str] = SCRIPTED, **settings: Any) -> WorkerUnderTest:
        chosen = {**self.settings, "trainer_command": command, **settings}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FDKD_")},
            **{
                f"FDKD_{name.upper()}": value if isinstance(value, str) else json.dumps(value, default=str)
                for name, value in chosen.items()
            },
            "FDKD_DATA_DIR": str(chosen["data_dir"]),
        }
        log_path = self.folder / f"worker-{len(self.workers)}.log"
        worker = WorkerUnderTest(WarmProcess(worker_main, env=environment, log=log_path), log_path)
        self.workers.append(worker)
        return worker

    def freeze(self, worker: WorkerUnderTest) -> None:
        """Stops a worker outside of a write.

        One that sleeps with SQLite's only lock keeps everybody from writing until it goes on, lease or no
        lease; PostgreSQL ends such a transaction by itself, after longer than a test waits.
        """
        worker.send(signal.SIGSTOP)
        while self._is_writing():
            worker.send(signal.SIGCONT)
            time.sleep(0.1)
            worker.send(signal.SIGSTOP)

    def _is_writing(self) -> bool:
        """Whether somebody has a transaction open, whom nobody but this test lets go on."""
        if not self.context.database.is_sqlite:
            time.sleep(0.2)  # what the server was doing for it has come to an end by then
            with self.context.database.read() as session:
                return bool(session.scalar(text(_OPEN_TRANSACTIONS)))
        probe = sqlite3.connect(self.folder / "test.db", isolation_level=None, timeout=0.5)
        try:
            probe.execute("BEGIN IMMEDIATE")
            probe.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
        finally:
            probe.close()
        return False

    # What became of it.

    def trainers_without_a_crash(self, worker: WorkerUnderTest, jobs: list[str]) -> list[int]:
        """Processes of a worker whose job has lost no trainer yet.

        A second loss at the same step would be held to be the job's fault.
        """
        found = []
        for trainer in worker.trainers():
            try:
                command = " ".join(trainer.cmdline())
            except psutil.NoSuchProcess:
                continue
            if any(name in command and self.job(name).last_crash_step is None for name in jobs):
                found.append(trainer.pid)
        return found

    def wait(self, condition: Callable[[], Any], timeout_s: float = 120, what: str = "") -> Any:
        """The first true value of the condition."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout_s} s for {what or condition}\n{self.report()}")
            time.sleep(0.02)
        return found

    def wait_for_end(self, job_id: str, state: str | None = None, timeout_s: float = 120) -> Job:
        job: Job = self.wait(
            lambda: (job := self.job(job_id)).state in TERMINAL and job, timeout_s, f"the end of {job_id}"
        )
        assert state in (None, job.state), (job.state, job.error, self.report())
        return job

    def trace_text(self) -> str:
        path = self.folder / "data" / "trace"
        return path.read_text() if path.exists() else ""

    def trace(self) -> list[tuple[str, int, int, str]]:
        """What trainers did: job, attempt, pid, what."""
        fields = [line.split(" ", 3) for line in self.trace_text().splitlines()]
        return [(job, int(attempt), int(pid), what) for job, attempt, pid, what in fields]

    def fired(self, job_id: str) -> list[str]:
        """Faults that a job's trainers planned and met: the proof that a test tested something."""
        return [what.split()[1] for job, _, _, what in self.trace() if job == job_id and "fault" in what]

    def report(self) -> str:
        """All that helps to understand a failure."""
        with self.context.database.read() as session:
            jobs = [
                f"{job.id} {job.state} attempt={job.attempt} losses={job.losses} {job.progress} {job.error}"
                for job in session.scalars(select(Job))
            ]
            events = [
                f"{event.job_id} {event.attempt} {event.type} {event.data}"
                for event in session.scalars(select(JobEvent).order_by(JobEvent.id))
            ][-40:]
        logs = [f"--- worker {number}\n{worker.log[-4000:]}" for number, worker in enumerate(self.workers)]
        return "\n".join([*jobs, *events, *logs])

    def require_clean_history(self, job_ids: list[str]) -> None:
        """Checks what must hold whatever happened: one end each, no backward step, files that are there."""
        for job_id in job_ids:
            job = self.job(job_id)
            assert job.state in TERMINAL, self.report()
            events = self.events(job_id)
            ends = [
                e for e in events if e.type in ("job.succeeded", "job.failed", "job.given_up", "job.stopped")
            ]
            assert len(ends) == 1, [(e.attempt, e.type) for e in events]
            assert ends[0].attempt == job.attempt
            claims = [event.attempt for event in events if event.type == "job.claimed"]
            assert claims == list(range(1, len(claims) + 1))
            # Nothing is written for an attempt once the next one has begun.
            assert [event.attempt for event in events] == sorted(event.attempt for event in events)
            artifacts = self.artifacts(job_id)
            assert bool(artifacts) == (job.state == JobState.SUCCEEDED)
            for artifact in artifacts.values():
                assert artifact.attempt == job.attempt
                assert len(self.read_artifact(job_id, artifact.name)) == artifact.size_bytes


def make_template(folder: Path, data: Path) -> Path:
    """A run of the core that nothing disturbed; its files are what the scripted trainer hands over."""
    spec = folder / "template-spec.json"
    spec.write_text(small_spec().model_dump_json())
    out = folder / "template"
    ran = run_warm(core_main, spec, data, out, "--threads", 1, "--device", "cpu")
    assert ran.returncode == 0, ran.stderr
    return out


def use_template(rig: Rig, template: Path) -> None:
    shutil.copytree(template, rig.folder / "data" / "template")
