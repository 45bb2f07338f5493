"""Whose turn it is: a comparison keeps nobody waiting, and is not kept waiting itself."""

from __future__ import annotations

import re
from typing import Any

import pytest
from family_records import ARMS, claim, compare, given_teacher, read, succeed, take
from job_records import add_job
from service_fixtures import ServiceUnderTest
from sqlalchemy import event, insert, text

from service.db import Database
from service.identifiers import new_id
from service.jobs import line
from service.jobs.losses import give_back
from service.jobs.states import JobState
from service.scopes import LOCAL_OWNER
from service.tables import Job


@pytest.fixture
def post(api: ServiceUnderTest, dataset_id: str) -> Any:
    teacher = given_teacher(api.database)

    def post() -> str:
        answer = api.client.post("/v1/jobs", json={"spec": compare(teacher=teacher)})
        return str(answer.json()["id"])

    return post


def test_a_later_job_does_not_wait_for_a_whole_comparison(
    api: ServiceUnderTest, post: Any, dataset_id: str
) -> None:
    database, parent_id = api.database, post()
    later = add_job(database, dataset_id, owner_id=new_id("own"))
    assert take(database).parent_id == parent_id  # the older one first
    assert take(database).id == later
    assert [take(database).name for _ in range(3)] == ARMS[1:]


def test_a_comparison_does_not_wait_for_all_later_jobs(
    api: ServiceUnderTest, post: Any, dataset_id: str
) -> None:
    database, parent_id = api.database, post()
    for _ in range(3):
        add_job(database, dataset_id)
    for _ in range(2):
        child = take(database)
        assert child.parent_id == parent_id
        assert take(database).parent_id is None
        succeed(database, child)
    assert take(database).parent_id == parent_id


def test_two_comparisons_share_the_workers(api: ServiceUnderTest, post: Any) -> None:
    database = api.database
    first, second = post(), post()
    taken = [take(database) for _ in range(8)]
    assert [job.parent_id for job in taken] == [first, second] * 4
    assert [job.name for job in taken if job.parent_id == second] == ARMS


def test_a_comparison_that_may_conclude_is_as_old_as_it_is(
    api: ServiceUnderTest, post: Any, dataset_id: str
) -> None:
    database, parent_id = api.database, post()
    jobs = [take(database) for _ in ARMS]
    add_job(database, dataset_id)
    for job in jobs:
        succeed(database, job)
    assert read(database, parent_id).waits_for is None
    assert take(database).id == parent_id


def back(database: Database, job: Job, after_s: float = 0) -> None:
    with database.write() as session:
        give_back(session, job.id, job.attempt, reason="shutdown", after_s=after_s)


def test_a_job_that_was_given_back_keeps_its_place(api: ServiceUnderTest, dataset_id: str) -> None:
    """A worker that is stopped and started again goes on with the job it had, not with a later one."""
    database = api.database
    first, second = [add_job(database, dataset_id) for _ in range(2)]
    for attempt in (1, 2):
        interrupted = take(database)
        assert (interrupted.id, interrupted.attempt) == (first, attempt)
        add_job(database, dataset_id)
        back(database, interrupted)
    assert [take(database).id for _ in range(2)] == [first, second]


def test_a_child_that_was_given_back_keeps_its_place(api: ServiceUnderTest, post: Any) -> None:
    database = api.database
    post()
    interrupted = take(database, ARMS[0])
    back(database, interrupted)
    assert [take(database).name for _ in ARMS] == ARMS


def test_a_job_that_is_given_back_for_later_waits_until_then(api: ServiceUnderTest, dataset_id: str) -> None:
    database = api.database
    first, second = [add_job(database, dataset_id) for _ in range(2)]
    back(database, take(database), after_s=60)
    assert read(database, first).state == JobState.QUEUED
    assert take(database).id == second
    assert claim(database) is None


def test_the_line_is_read_from_indexes(api: ServiceUnderTest, post: Any, dataset_id: str) -> None:
    """However many jobs there are, and however many wait for something else."""
    database = api.database
    parent_id = post()
    states = ["succeeded"] * 20 + ["queued", "running"]
    rows = [
        {
            "id": new_id("job"), "owner_id": LOCAL_OWNER, "kind": "distill", "name": "old", "spec": {},
            "state": states[number % len(states)], "dataset_id": dataset_id,
            "waits_for": 2 if number % 3 else None, "parent_id": parent_id if number % 3 == 1 else None,
        }
        for number in range(3000)
    ]  # fmt: skip
    with database.write() as session:
        session.execute(insert(Job), rows)
        if not database.is_sqlite:
            session.execute(text("ANALYZE jobs"))
    statements: list[tuple[str, Any]] = []

    def note(connection: object, cursor: object, statement: str, parameters: object, *rest: object) -> None:
        statements.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    with database.read() as session:
        assert line.is_anyone_due(session)
    with database.write() as session:
        assert line.next_in_line(session) is not None
    event.remove(database.engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    for statement, parameters in statements:
        if statement.startswith("BEGIN") or "FROM jobs" not in statement:
            continue
        with database.engine.connect() as connection:
            found = connection.exec_driver_sql(explain + statement, parameters)
            plan = "\n".join(str(tuple(row)) for row in found)
            print(plan)
        assert "Seq Scan" not in plan, plan
        assert re.search(r"SCAN (jobs|of_head)( AS \w+)?'", plan) is None, plan
        if "WITH RECURSIVE" not in statement:
            continue
        for index in ("next", "next_child", "parent_id_state_id", "last_turn"):
            assert re.search(rf"\bix_jobs_{index}\b", plan), plan
