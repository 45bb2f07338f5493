"""A service without its API, for tests of the worker: rows put in by hand, and real workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from small_job import small_spec
from sqlalchemy import select, update
from study_samples import compare_spec
from warm_process import WarmProcess, run_warm

from fdkd_core.__main__ import main as core_main
from fdkd_core.spec import AnyJobSpec
from service import schema
from service.context import Context, open_context
from service.db import db_now
from service.identifiers import new_id
from service.jobs.comparisons import plan as plan_family
from service.jobs.given_models import give, given_to
from service.jobs.repository import insert_job
from service.jobs.states import TERMINAL, JobState
from service.settings import Settings
from service.tables import Artifact, Dataset, Job, JobEvent, JobLog, JobMetric, Model
from worker.__main__ import main as worker_main

SUPPORT = Path(__file__).parent
SCRIPTED = [sys.executable, str(SUPPORT / "scripted_trainer.py")]
MISBEHAVING = [sys.executable, str(SUPPORT / "misbehaving_trainer.py")]
REAL = [sys.executable, "-m", "worker.trainer"]
OWNER = "own_00000000000000000000000000"
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


@dataclass
class WorkerUnderTest:
    """A worker process, its log and its trainers."""

    process: WarmProcess
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def trainers(self) -> list[psutil.Process]:
        try:
            found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return found

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def stop(self, timeout_s: float = 30) -> int:
        """Ends it as a deploy would; returns its exit status."""
        if self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
        return self.process.wait(timeout_s)


@dataclass
class Rig:
    """The database, the storage, and what is done to them."""

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

    # What would come in through the API.

    def add_dataset(self, path: Path, state: str = "ready") -> str:
        dataset_id = new_id("ds")
        stored = self.context.storage.put(f"datasets/{dataset_id}/{dataset_id}{path.suffix}", path)
        row = Dataset(
            id=dataset_id, owner_id=OWNER, name=dataset_id, name_key=dataset_id, state=state,
            format=path.suffix[1:], size_bytes=stored.size_bytes, sha256=stored.sha256,
            storage_key=stored.key,
        )  # fmt: skip
        with self.context.database.write() as session:
            session.add(row)
        return dataset_id

    def add_model(self, path: Path, **columns: Any) -> str:
        model_id = new_id("mdl")
        stored = self.context.storage.put(f"models/{model_id}/{path.name}", path)
        row = Model(
            id=model_id, owner_id=OWNER, name=model_id, name_key=model_id, source="upload",
            size_bytes=stored.size_bytes, sha256=stored.sha256, storage_key=stored.key, **columns,
        )  # fmt: skip
        with self.context.database.write() as session:
            session.add(row)
        return model_id

    def add_job(
        self,
        dataset_id: str,
        spec: AnyJobSpec | None = None,
        *,
        plan: str = "a job",
        given: dict[str, str] | None = None,
        **columns: Any,
    ) -> str:
        job_id = new_id("job")
        document = (spec or small_spec(name=plan)).model_dump(mode="json")
        row = Job(
            id=job_id, owner_id=OWNER, kind=document["kind"], name=document["name"], spec=document,
            dataset_id=dataset_id, **columns,
        )  # fmt: skip
        with self.context.database.write() as session:
            session.add(row)
            session.flush()
            give(session, {job_id: given or {}})
        return job_id

    def add_compare(self, dataset_id: str, plans: dict[str, str] | None = None, **changes: Any) -> str:
        """A comparison with its children, as the API makes it.

        Args:
            dataset_id: What it is about.
            plans: Of trainers (`trainer_plan`), by name of the child; "" is the comparison's own conclusion.
            changes: Fields of the spec.
        """
        spec = compare_spec(**changes)
        with self.context.database.write() as session:
            job = insert_job(
                session, plan_family(spec, {}), given={}, owner_id=OWNER, kind="compare", name=spec.name,
                spec=spec.model_dump(mode="json"), labels={}, dataset_id=dataset_id, gpus=1,
            )  # fmt: skip
            for row in session.scalars(select(Job).where((Job.id == job.id) | (Job.parent_id == job.id))):
                plan = (plans or {}).get("" if row.id == job.id else row.name)
                if plan is not None:
                    row.spec = {**row.spec, "name": plan}
        return str(job.id)

    def given(self, job_id: str) -> dict[str, str]:
        """The models that a job is given, by role."""
        with self.context.database.read() as session:
            return given_to(session, job_id)

    def children(self, parent_id: str) -> dict[str, Job]:
        """By name, in the order of the spec."""
        with self.context.database.read() as session:
            rows = session.scalars(select(Job).where(Job.parent_id == parent_id).order_by(Job.id))
            return {row.name: row for row in rows}

    def cancel(self, job_id: str) -> None:
        with self.context.database.write() as session:
            session.execute(update(Job).where(Job.id == job_id).values(cancel_requested_at=db_now()))

    # Workers.

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
        lease; PostgreSQL ends such a transaction by itself.
        """
        while True:
            worker.send(signal.SIGSTOP)
            if not self.context.database.is_sqlite:
                return
            probe = sqlite3.connect(self.folder / "test.db", isolation_level=None, timeout=0.5)
            try:
                probe.execute("BEGIN IMMEDIATE")
                probe.execute("ROLLBACK")
                return
            except sqlite3.OperationalError:
                worker.send(signal.SIGCONT)
                time.sleep(0.1)
            finally:
                probe.close()

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

    def job(self, job_id: str) -> Job:
        with self.context.database.read() as session:
            return session.get_one(Job, job_id)

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

    def events(self, job_id: str, kind: str | None = None) -> list[JobEvent]:
        with self.context.database.read() as session:
            rows = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id))
            return [row for row in rows if kind in (None, row.type)]

    def metrics(self, job_id: str) -> list[JobMetric]:
        with self.context.database.read() as session:
            rows = select(JobMetric).where(JobMetric.job_id == job_id).order_by(JobMetric.step)
            return list(session.scalars(rows))

    def log_lines(self, job_id: str) -> list[str]:
        with self.context.database.read() as session:
            rows = select(JobLog.line).where(JobLog.job_id == job_id).order_by(JobLog.id)
            return list(session.scalars(rows))

    def artifacts(self, job_id: str) -> dict[str, Artifact]:
        with self.context.database.read() as session:
            rows = session.scalars(select(Artifact).where(Artifact.job_id == job_id))
            return {row.name: row for row in rows}

    def models(self, job_id: str) -> dict[str, Model]:
        with self.context.database.read() as session:
            rows = session.scalars(select(Model).where(Model.job_id == job_id))
            return {str(row.role): row for row in rows}

    def read_artifact(self, job_id: str, name: str) -> bytes:
        with self.context.storage.open(self.artifacts(job_id)[name].storage_key) as file:
            return file.read()

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
                path = self.context.settings.storage_dir / artifact.storage_key
                assert path.stat().st_size == artifact.size_bytes


def is_alive(pid: int) -> bool:
    """A zombie, whose parent may be frozen, is not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running(worker: WorkerUnderTest) -> Iterator[WorkerUnderTest]:
    """Stops the worker at the end, and checks that it did so cleanly."""
    yield worker
    assert worker.stop() == 0, worker.log


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
