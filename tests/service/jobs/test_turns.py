"""Fair share: owners take turns, however many jobs one of them has in the line."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from family_records import claim, compare, fail, given_teacher, read, succeed, take
from job_records import add_job
from service_fixtures import ServiceUnderTest
from sqlalchemy import insert

from service.db import Database, db_now
from service.identifiers import new_id
from service.jobs import line, transitions
from service.jobs.losses import give_back, lose
from service.jobs.states import JobEventType, JobState
from service.settings import Settings
from service.tables import Job

ANN, BEN, CAT = "own_ann", "own_ben", "own_cat"


@pytest.fixture
def database(api: ServiceUnderTest) -> Database:
    return api.database


@pytest.fixture
def add(database: Database, dataset_id: str) -> Any:
    """Puts so many jobs of an owner into the line; their ids."""

    def add(owner_id: str, number: int = 1, **columns: Any) -> list[str]:
        return [add_job(database, dataset_id, owner_id=owner_id, **columns) for _ in range(number)]

    return add


def served(database: Database, number: int) -> list[str]:
    """Whose jobs a lone worker sees through, one after the other."""
    owners = []
    for _ in range(number):
        job = take(database)
        owners.append(job.owner_id)
        succeed(database, job)
    return owners


def test_the_first_job_of_an_owner_does_not_wait_for_all_of_another(database: Database, add: Any) -> None:
    """A35: six jobs of one are there, the first of them runs, and the other posts one: it is the next."""
    add(ANN, 6)
    running = take(database)
    [other] = add(BEN)
    succeed(database, running)
    assert take(database).id == other


def test_a_lone_worker_serves_owners_in_turns(database: Database, add: Any) -> None:
    first = add(ANN, 4)
    add(BEN, 3)
    add(CAT, 2)
    assert served(database, 9) == [ANN, BEN, CAT] * 2 + [ANN, BEN, ANN]
    assert read(database, first[0]).started_at < read(database, first[1]).started_at  # type: ignore[operator]


def test_the_owner_of_whom_fewest_jobs_run_is_next(database: Database, add: Any) -> None:
    add(ANN, 6)
    assert [take(database).owner_id for _ in range(2)] == [ANN, ANN]  # alone, all workers are hers
    add(BEN, 3)
    assert [take(database).owner_id for _ in range(5)] == [BEN, BEN, ANN, BEN, ANN]


def test_a_newcomer_comes_before_an_owner_who_was_served(database: Database, add: Any) -> None:
    add(ANN, 3)
    add(BEN, 3)
    assert served(database, 3) == [ANN, BEN, ANN]
    add(CAT)
    assert served(database, 3) == [CAT, BEN, ANN]


def test_a_failed_job_was_a_turn_and_one_cancelled_in_line_was_none(database: Database, add: Any) -> None:
    add(ANN, 2)
    add(BEN, 2)
    fail(database, take(database))
    assert take(database).owner_id == BEN  # and runs on
    [unwanted] = add(CAT)
    with database.write() as session:
        transitions.apply(session, unwanted, JobEventType.CANCELLED)
    add(CAT)
    assert served(database, 2) == [CAT, ANN]


def test_what_was_given_back_goes_on_before_other_owners(database: Database, add: Any) -> None:
    """Ctrl-C and a new start: the turn that was interrupted is not over."""
    add(ANN, 2)
    assert served(database, 1) == [ANN]
    interrupted = take(database)
    add(BEN, 2)
    with database.write() as session:
        give_back(session, interrupted.id, interrupted.attempt, reason="shutdown")
    again = take(database)
    assert (again.id, again.attempt) == (interrupted.id, 2)
    assert take(database).owner_id == BEN


def test_a_lost_job_waits_for_its_back_off_and_then_for_its_turn(database: Database, add: Any) -> None:
    [unlucky] = add(ANN)
    job = take(database)
    add(BEN, 2)
    with database.write() as session:
        settings = Settings(retry_backoff_s=60)
        lose(session, unlucky, job.attempt, settings, code="crashed", message="m", crash_step=3)
    running = take(database)
    assert running.owner_id == BEN
    with database.write() as session:
        session.get_one(Job, unlucky).available_at = db_now(-0.01)
    assert take(database).id == unlucky
    assert take(database).owner_id == BEN


def test_what_was_lost_waits_for_its_turn_also_if_it_was_given_back_before(
    database: Database, add: Any
) -> None:
    [unlucky] = add(ANN)
    interrupted = take(database)
    with database.write() as session:
        give_back(session, unlucky, interrupted.attempt, reason="shutdown")
    job = take(database)
    add(ANN)
    take(database)
    add(BEN)
    with database.write() as session:
        lose(session, unlucky, job.attempt, Settings(retry_backoff_s=60), code="crashed", message="m")
        session.get_one(Job, unlucky).available_at = db_now(-0.01)
    assert take(database).owner_id == BEN, "another job of hers runs, and none of his"
    assert take(database).id == unlucky


def test_a_comparison_counts_as_many_jobs_as_run(
    api: ServiceUnderTest, database: Database, add: Any, dataset_id: str
) -> None:
    """All its children are its owner's jobs, and the comparison itself is none while they are under way."""
    spec = compare(teacher=given_teacher(database))
    parent_id = api.client.post("/v1/jobs", json={"spec": spec}).json()["id"]
    children = [take(database) for _ in range(2)]
    assert {child.parent_id for child in children} == {parent_id}
    assert read(database, parent_id).state == JobState.RUNNING
    add(BEN, 4)
    taken = [take(database) for _ in range(5)]
    # At two against two a job that stands alone comes first, then it is the comparison's turn.
    assert [job.owner_id == BEN for job in taken] == [True, True, True, False, True]


def test_nobody_is_left_behind_however_many_owners_come(database: Database, add: Any) -> None:
    add(ANN, 2)
    assert served(database, 1) == [ANN]
    owners = [f"own_{number}" for number in range(5)]
    for owner_id in owners:
        add(owner_id, 3)
    assert set(served(database, 6)) == {ANN, *owners}


def test_a_head_that_another_worker_is_taking_leaves_the_turn_to_the_next_owner(
    database: Database, add: Any
) -> None:
    if database.is_sqlite:
        pytest.skip("one writer at a time")
    first, second = add(ANN, 2)
    [other] = add(BEN)
    with database.write() as one, database.write() as two, database.write() as three:
        assert line.next_in_line(one) == first
        assert line.next_in_line(two) == other
        assert line.next_in_line(three) == second
    assert claim(database) is not None


def test_a_look_costs_as_much_as_there_are_owners_and_not_jobs(
    database: Database, add: Any, dataset_id: str
) -> None:
    if not database.is_sqlite:
        pytest.skip("only SQLite counts its steps; the plans of both are in test_line.py")
    costs = []
    for number_each in (1, 1000):
        for number in range(10):
            shared = {"owner_id": f"own_{number}", "kind": "distill", "name": "n", "spec": {}}
            rows = [{**shared, "id": new_id("job"), "dataset_id": dataset_id} for _ in range(number_each)]
            with database.write() as session:
                session.execute(insert(Job), rows)
        with database.read() as session:
            steps = count(1)
            connection = session.connection().connection.dbapi_connection
            assert connection is not None
            connection.set_progress_handler(lambda steps=steps: next(steps) and 0, 10)
            assert line.is_anyone_due(session)
            connection.set_progress_handler(None, 0)
            costs.append(next(steps))
    assert costs[1] < 2 * costs[0], costs
