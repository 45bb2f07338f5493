"""Faults of what workers talk to: the broker and the database."""

from __future__ import annotations

import sqlite3
import time

import psycopg
from bench import Bench, end, link, wait_for_step
from own_redis import OwnRedis
from scripted_trainer import chain


def repeated_wake_ups(bench: Bench) -> None:
    """F5: ten wake-ups for each of five jobs, to four workers."""
    with OwnRedis.on_a_free_port() as broker:
        rig = bench.make_rig(broker_url=broker.url)
        workers = [rig.start_worker() for _ in range(4)]
        rig.wait(lambda: all("is ready" in worker.log for worker in workers), what="the workers")
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
