"""Many workers and users on the jobs of one comparison at the same moment: no deadlock, nothing forgotten."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from family_records import (
    ARMS,
    ERROR,
    children,
    compare,
    given_teacher,
    history,
    read,
    require_sound,
    succeed,
    take,
)
from service_fixtures import ServiceUnderTest
from sqlalchemy import update

from service.errors import ServiceError, StaleAttemptError
from service.jobs import line, transitions
from service.jobs.losses import give_back, lose
from service.jobs.states import TERMINAL, JobEventType
from service.tables import Job


@pytest.fixture
def post(api: ServiceUnderTest, dataset_id: str) -> Any:
    teacher: dict[str, Any] = {}

    def post(**changes: Any) -> str:
        if "teacher" not in changes:
            if not teacher:
                teacher.update(given_teacher(api.database))
            changes["teacher"] = teacher
        answer = api.client.post("/v1/jobs", json={"spec": compare(**changes)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    return post


def test_the_last_two_children_end_at_once(api: ServiceUnderTest, post: Any) -> None:
    """Whoever is second finds that all have ended: the parent is told exactly once."""
    database = api.database
    for number in range(25):
        parent_id = post()
        jobs = [take(database) for _ in ARMS]
        for job in jobs[:-2]:
            succeed(database, job)
        barrier = threading.Barrier(2)

        def end(job: Job, barrier: threading.Barrier = barrier, fails: bool = number % 2 == 1) -> None:
            barrier.wait()
            with database.write() as session:
                if fails and job.name == ARMS[-1]:
                    event, changes = JobEventType.FAILED, {"error": ERROR}
                else:
                    event, changes = JobEventType.SUCCEEDED, {"result": {}}
                transitions.apply(session, job.id, event, attempt=job.attempt, **changes)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(end, jobs[-2:]))
        require_sound(database, parent_id)
        assert history(database, parent_id)[-1] == "job.children_ended"
        parent = take(database)
        assert parent.id == parent_id
        succeed(database, parent)


def test_a_cancellation_meets_the_end_of_the_last_child(api: ServiceUnderTest, post: Any) -> None:
    database = api.database
    outcomes = set()
    for _ in range(20):
        parent_id = post()
        jobs = [take(database) for _ in ARMS]
        for job in jobs[:-1]:
            succeed(database, job)
        barrier = threading.Barrier(2)

        def end(job: Job = jobs[-1], barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            with database.write() as session:
                transitions.apply(session, job.id, JobEventType.SUCCEEDED, attempt=job.attempt, result={})

        def cancel(parent_id: str = parent_id, barrier: threading.Barrier = barrier) -> int:
            barrier.wait()
            return int(api.client.post(f"/v1/jobs/{parent_id}/cancel").status_code)

        with ThreadPoolExecutor(2) as pool:
            ended, cancelled = pool.submit(end), pool.submit(cancel)
            ended.result()
            outcomes.add(cancelled.result())
        assert read(database, parent_id).state == "cancelled"
        require_sound(database, parent_id)
    assert outcomes <= {200, 202}


def test_a_storm_over_several_families(api: ServiceUnderTest, post: Any, dataset_id: str) -> None:
    """Threads claim, end, lose and cancel whatever they find; every job ends, and every family is sound."""
    database, settings = api.database, api.settings
    seed = random.randrange(2**32)
    print("seed", seed)
    families = [post() for _ in range(6)]
    everything = [child.id for family in families for child in children(database, family).values()]
    deadlocks: list[Exception] = []

    def work(number: int) -> None:
        chance = random.Random(seed + number)
        while True:
            with database.read() as session:
                if not line.is_anyone_due(session):
                    return
            with database.write() as session:
                job = transitions.claim(session, f"wrk_{number}", 60)
            if job is None:
                continue
            try:
                with database.write() as session:
                    transitions.hold(session, job.id, job.attempt, progress={"phase": "x"})
                if chance.random() < 0.15:
                    victim = chance.choice([*families, *everything])
                    api.client.post(f"/v1/jobs/{victim}/cancel")
                with database.write() as session:
                    wished = transitions.renew(session, job.id, job.attempt, 60)
                with database.write() as session:
                    event = chance.choice(["succeed"] * 5 + ["fail", "back", "lose"])
                    if event == "back":
                        give_back(session, job.id, job.attempt, reason="shutdown")
                    elif event == "lose":
                        lose(session, job.id, job.attempt, settings, code="crashed", message="m")
                    elif wished:
                        transitions.apply(session, job.id, JobEventType.STOPPED, attempt=job.attempt)
                    elif event == "fail":
                        transitions.apply(
                            session, job.id, JobEventType.FAILED, attempt=job.attempt, error=ERROR
                        )
                    else:
                        transitions.apply(
                            session, job.id, JobEventType.SUCCEEDED, attempt=job.attempt, result={}
                        )
            except (StaleAttemptError, ServiceError):
                continue

    def guarded(number: int) -> None:
        try:
            work(number)
        except Exception as error:
            deadlocks.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert deadlocks == []
    # What was lost waits for its back-off, and what became due last may have been missed by the others.
    while not all(read(database, family).state in TERMINAL for family in families):
        for family in families:
            require_sound(database, family)
        with database.write() as session:
            session.execute(update(Job).values(available_at=Job.created_at))
        work(99)
    for family in families:
        require_sound(database, family)
