"""Wake-ups that come often, not at all, or forged (F5, F9, F10): the table decides, the broker only rings."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from own_redis import OwnRedis
from scripted_trainer import chain
from worker_process import running
from worker_rig import Rig

from service.queue import RUN_JOB, make_celery

LONG_S = 600
"""An interval at which a worker does not look by itself during a test."""


@pytest.fixture
def own_redis(redis_url: str) -> Iterator[OwnRedis]:
    """Skipped, or failed, where there is no Redis at all."""
    with OwnRedis.on_a_free_port() as server:
        yield server


def wait_until_ready(rig: Rig, count: int) -> None:
    for worker in rig.workers[-count:]:
        rig.wait(lambda worker=worker: "is ready" in worker.log, what="a worker")


@pytest.mark.long
def test_a_wake_up_ten_times_to_four_workers(
    make_rig: Callable[..., Rig], postgresql_url: str, redis_url: str, small_data: Path
) -> None:
    rig = make_rig(postgresql_url, broker_url=redis_url)
    workers = [rig.start_worker() for _ in range(4)]
    wait_until_ready(rig, 4)
    dataset_id = rig.add_dataset(small_data)
    jobs = [rig.add_job(dataset_id, plan="steps=2 step_s=0.01") for _ in range(20)]
    for job_id in jobs:
        for _ in range(10):
            rig.context.wake_up.job(job_id)
    for job_id in jobs:
        rig.wait_for_end(job_id, "succeeded")
    rig.wait(lambda: rig.context.wake_up.num_sent == 200, what="the messages")
    with closing(redis.Redis.from_url(redis_url)) as client:
        rig.wait(lambda: client.llen("fdkd") == 0, what="the queue to be empty")
    for worker in workers:
        assert worker.stop() == 0
    # One claim per job, and several workers took part.
    for job_id in jobs:
        assert [event.attempt for event in rig.events(job_id, "job.claimed")] == [1]
    takers = {event.data["worker_id"] for job_id in jobs for event in rig.events(job_id, "job.claimed")}
    assert len(takers) >= 2
    rig.require_clean_history(jobs)


def test_a_broker_that_forgets_everything(
    make_rig: Callable[..., Rig], postgresql_url: str, own_redis: OwnRedis, small_data: Path
) -> None:
    """Killed and started again without its data, three times, under running and waiting jobs."""
    rig = make_rig(postgresql_url, broker_url=own_redis.url)
    dataset_id = rig.add_dataset(small_data)
    with running(rig.start_worker(worker_slots=2)):
        wait_until_ready(rig, 1)
        jobs = [rig.add_job(dataset_id, plan="steps=30 step_s=0.05") for _ in range(6)]
        for job_id in jobs:
            rig.context.wake_up.job(job_id)
        for _ in range(3):
            rig.wait(lambda: any(rig.job(job_id).state == "running" for job_id in jobs), what="a running job")
            own_redis.kill()
            time.sleep(0.5)
            own_redis.start()
        for job_id in jobs:
            job = rig.wait_for_end(job_id, "succeeded")
            # Untouched: what runs does not depend on the broker.
            assert job.attempt == 1
            assert json.loads(rig.read_artifact(job_id, "data_report.json"))["link"] == chain(30)
        rig.require_clean_history(jobs)


def test_the_consumer_comes_back_to_a_broker_that_comes_back(
    make_rig: Callable[..., Rig], own_redis: OwnRedis, small_data: Path
) -> None:
    """Only the message can start these jobs."""
    rig = make_rig(broker_url=own_redis.url)
    dataset_id = rig.add_dataset(small_data)
    with running(rig.start_worker(sweep_s=LONG_S)):
        wait_until_ready(rig, 1)
        for _ in range(2):
            own_redis.kill()
            time.sleep(0.5)
            own_redis.start()
            job_id = rig.add_job(dataset_id, plan="steps=2")
            started = time.monotonic()
            wait_for_start_by_message(rig, job_id)
            assert time.monotonic() - started < 15
            rig.wait_for_end(job_id, "succeeded")


@pytest.mark.long
def test_a_broker_that_lets_nobody_write_is_waited_for(
    make_rig: Callable[..., Rig], own_redis: OwnRedis, small_data: Path
) -> None:
    """As after a failover: Celery connects, is refused, and would leave a socket behind each time."""
    rig = make_rig(broker_url=own_redis.url)
    dataset_id = rig.add_dataset(small_data)
    with (
        running(rig.start_worker(sweep_s=LONG_S)) as worker,
        closing(redis.Redis(port=own_redis.port)) as own,
    ):
        wait_until_ready(rig, 1)
        rig.wait(lambda: "Connected to" in worker.log, what="the consumer")
        own.replicaof("127.0.0.1", 1)
        rig.wait(lambda: "ReadOnlyError" in worker.log, 20, "the refusal")
        before = own.info("clients")["connected_clients"]
        time.sleep(6)
        assert own.info("clients")["connected_clients"] <= before + 2
        assert "Traceback" not in worker.log
        assert worker.log.count("\n") < 15, worker.log
        own.replicaof("NO", "ONE")
        job_id = rig.add_job(dataset_id, plan="steps=2")
        wait_for_start_by_message(rig, job_id)
        rig.wait_for_end(job_id, "succeeded")


def wait_for_start_by_message(rig: Rig, job_id: str) -> None:
    """Rings until the worker hears it: that it listens again is not to be seen from outside."""

    def ring_and_look() -> bool:
        rig.context.wake_up.job(job_id)
        time.sleep(0.2)
        return rig.job(job_id).state != "queued"

    rig.wait(ring_and_look, 30, "a start by message")


def test_jobs_run_while_the_broker_is_away(
    make_rig: Callable[..., Rig], own_redis: OwnRedis, small_data: Path
) -> None:
    rig = make_rig(broker_url=own_redis.url)
    own_redis.kill()
    with running(rig.start_worker()):
        job_id = rig.add_job(rig.add_dataset(small_data))
        rig.context.wake_up.job(job_id)
        rig.wait_for_end(job_id, "succeeded")
    own_redis.start()


def test_forged_messages_do_nothing(
    make_rig: Callable[..., Rig], redis_url: str, small_data: Path, tmp_path: Path
) -> None:
    rig = make_rig(broker_url=redis_url)
    app = make_celery(redis_url)
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {canary}",)

    with running(rig.start_worker(sweep_s=LONG_S)) as worker:
        wait_until_ready(rig, 1)
        with app.connection_for_write() as connection:
            producer = app.amqp.Producer(connection)
            for name, arguments in (
                ("os.system", ["true"]),
                (RUN_JOB, ["job_00000000000000000000000000"]),
                (RUN_JOB, ["../../etc/passwd"]),
                (RUN_JOB, []),
                (RUN_JOB, [{"a": 1}, 2, 3]),
                (RUN_JOB, ["x" * 100_000]),
            ):
                app.send_task(name, args=arguments, producer=producer, retry=False)
            app.send_task(RUN_JOB, args=[Bomb()], producer=producer, retry=False, serializer="pickle")
            producer.publish(b"\xff not json", routing_key="fdkd", content_type="application/json")
            producer.publish("{}", routing_key="fdkd", content_type="application/json")
        with closing(redis.Redis.from_url(redis_url)) as client:
            client.lpush("fdkd", b"not a message", b"{}", b"[1")
            rig.wait(lambda: client.llen("fdkd") == 0, 20, "the queue to be empty")
        # It lives, and listens.
        job_id = rig.add_job(rig.add_dataset(small_data))
        wait_for_start_by_message(rig, job_id)
        rig.wait_for_end(job_id, "succeeded")
        assert worker.process.poll() is None
    assert not canary.exists()
