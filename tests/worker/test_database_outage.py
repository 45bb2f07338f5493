"""A database that is away, slow or locked while a job runs (F13): the trainer goes on as long as it may."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from scripted_trainer import chain
from worker_process import running
from worker_rig import Rig


def wait_for_step(rig: Rig, job_id: str, step: int) -> None:
    rig.wait(lambda: (rig.job(job_id).progress or {}).get("step", 0) >= step, what=f"step {step}")


def link(rig: Rig, job_id: str) -> str:
    return json.loads(rig.read_artifact(job_id, "data_report.json"))["link"]


def test_connections_that_are_cut_again_and_again(
    make_rig: Callable[..., Rig], postgresql_url: str, small_data: Path
) -> None:
    rig = make_rig(postgresql_url, lease_s=5.0)
    jobs = [rig.add_job(rig.add_dataset(small_data), plan="steps=60 step_s=0.05") for _ in range(2)]
    cut = 0
    with (
        running(rig.start_worker(worker_slots=2)) as worker,
        psycopg.connect(postgresql_url, autocommit=True) as own,
    ):
        for job_id in jobs:
            wait_for_step(rig, job_id, 3)
        for _ in range(8):
            rig.context.database.close()  # so that only the worker's connections are cut
            found = own.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
            assert found is not None
            cut += found[0]
            time.sleep(0.3)
        for job_id in jobs:
            job = rig.wait_for_end(job_id, "succeeded")
            assert (job.attempt, job.losses) == (1, 0)
            assert link(rig, job_id) == chain(60)
            assert [row.step for row in rig.metrics(job_id)] == list(range(1, 61))
        assert "fenced" not in worker.log
    assert cut >= 8
    rig.require_clean_history(jobs)


def test_a_database_that_only_reads_while_a_job_ends(
    make_rig: Callable[..., Rig], postgresql_url: str, small_data: Path
) -> None:
    """As after a failover, for less than a lease: what was trained is handed over when it can be written."""
    rig = make_rig(postgresql_url, lease_s=15.0)
    job_id = rig.add_job(rig.add_dataset(small_data), plan="steps=20 step_s=0.05")
    name = postgresql_url.rpartition("/")[2]
    with (
        running(rig.start_worker()) as worker,
        psycopg.connect(postgresql_url, autocommit=True) as own,
    ):
        wait_for_step(rig, job_id, 3)
        own.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        rig.context.database.close()  # so that only the worker's connections are cut
        own.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        rig.wait(lambda: not worker.trainers(), 10, "the end of the training")
        rig.wait(lambda: "read-only transaction" in worker.log, 10, "a write that was refused")
        own.execute("SET default_transaction_read_only = off")
        own.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        rig.context.database.close()
        job = rig.wait_for_end(job_id, "succeeded")
        assert (job.attempt, job.losses) == (1, 0)
        assert "Traceback" not in worker.log
    assert [row.step for row in rig.metrics(job_id)] == list(range(1, 21))
    rig.require_clean_history([job_id])


def test_a_database_locked_for_less_than_a_lease(make_rig: Callable[..., Rig], small_data: Path) -> None:
    """Nothing can be written, and nothing happens to the job."""
    rig = make_rig(lease_s=10.0)
    job_id = rig.add_job(rig.add_dataset(small_data), plan="steps=60 step_s=0.05")
    with running(rig.start_worker()):
        wait_for_step(rig, job_id, 3)
        hold_lock(rig, 4.0)
        job = rig.wait_for_end(job_id, "succeeded")
    assert (job.attempt, job.losses) == (1, 0)
    assert [row.step for row in rig.metrics(job_id)] == list(range(1, 61))
    assert link(rig, job_id) == chain(60)


@pytest.mark.long
def test_a_database_locked_for_longer_than_a_lease(make_rig: Callable[..., Rig], small_data: Path) -> None:
    """The trainer is stopped while nobody else can have the job, and the next attempt goes on from there."""
    rig = make_rig(lease_s=2.0, stop_grace_s=1.0)
    job_id = rig.add_job(rig.add_dataset(small_data), plan="steps=200 step_s=0.05 every=1000")
    with running(rig.start_worker()) as worker:
        wait_for_step(rig, job_id, 3)
        (trainer,) = worker.trainers()
        locked_at = time.monotonic()
        hold_lock(rig, 6.0, until=lambda: not trainer.is_running())
        assert 1.5 < time.monotonic() - locked_at < 6
        job = rig.wait_for_end(job_id, "succeeded")
    assert job.attempt == 2
    (resumed,) = rig.events(job_id, "job.resumed")
    assert resumed.data["step"] > 3
    assert link(rig, job_id) == chain(200)
    rig.require_clean_history([job_id])


def hold_lock(rig: Rig, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    """Keeps SQLite's only write lock."""
    other = sqlite3.connect(rig.folder / "test.db", isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not until():
        time.sleep(0.02)
    other.execute("ROLLBACK")
    other.close()
