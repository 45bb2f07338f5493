from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from job_records import add_dataset, add_job, add_job_in, expire_lease, open_tables
from sqlalchemy import select

from service.db import Database, db_now
from service.errors import (
    InvalidTransitionError,
    NotFoundError,
    StaleAttemptError,
    TerminalStateError,
)
from service.identifiers import new_id
from service.jobs import transitions
from service.jobs.states import TERMINAL, TRANSITIONS, JobEventType, JobState
from service.tables import Job, JobEvent


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    database = open_tables(database_url, tmp_path)
    yield database
    database.close()


@pytest.fixture
def dataset_id(database: Database) -> str:
    return add_dataset(database)


def read(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)


def history(database: Database, job_id: str) -> list[tuple[int, str]]:
    with database.read() as session:
        rows = session.execute(
            select(JobEvent.attempt, JobEvent.type).where(JobEvent.job_id == job_id).order_by(JobEvent.id)
        )
        return [(row.attempt, row.type) for row in rows]


def test_the_whole_product_of_states_and_events(database: Database, dataset_id: str) -> None:
    """Each event in each state: it moves the job as the table says, or is refused and changes nothing."""
    for state, event in itertools.product(JobState, JobEventType):
        job_id = add_job_in(database, dataset_id, state)
        before, told = read(database, job_id), history(database, job_id)
        transition = TRANSITIONS[event]
        attempt = before.attempt if transition.fenced else None
        if state is transition.source:
            with database.write() as session:
                transitions.apply(session, job_id, event, attempt=attempt)
            after = read(database, job_id)
            assert after.state == transition.target, (state, event)
            assert after.version == before.version + 1
            assert (after.finished_at is not None) == (transition.target in TERMINAL)
            assert after.attempt == before.attempt + (event is JobEventType.CLAIMED)
            assert history(database, job_id) == [*told, (after.attempt, event)]
            if event is not JobEventType.CLAIMED:
                assert (after.worker_id, after.lease_expires_at) == (None, None)
        else:
            expected = (
                StaleAttemptError
                if transition.fenced
                else TerminalStateError
                if state in TERMINAL
                else InvalidTransitionError
            )
            with pytest.raises(expected), database.write() as session:
                transitions.apply(session, job_id, event, attempt=attempt)
            after = read(database, job_id)
            assert (after.state, after.version) == (state, before.version), (state, event)
            assert history(database, job_id) == told


def test_events_of_the_holder_need_an_attempt(database: Database, dataset_id: str) -> None:
    job_id = add_job_in(database, dataset_id, JobState.RUNNING)
    with pytest.raises(TypeError, match="attempt"), database.write() as session:
        transitions.apply(session, job_id, JobEventType.SUCCEEDED)


def test_a_job_that_is_not_there(database: Database) -> None:
    with pytest.raises(NotFoundError), database.write() as session:
        transitions.apply(session, new_id("job"), JobEventType.CANCELLED)


def test_the_state_and_its_event_are_written_together_or_not_at_all(
    database: Database, dataset_id: str
) -> None:
    job_id = add_job(database, dataset_id)

    def fail_halfway() -> None:
        with database.write() as session:
            transitions.apply(session, job_id, JobEventType.CANCELLED)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert read(database, job_id).state == JobState.QUEUED
    assert history(database, job_id) == []


def test_claims_take_the_job_that_waits_longest(database: Database, dataset_id: str) -> None:
    first, second = add_job(database, dataset_id), add_job(database, dataset_id)
    later = add_job(database, dataset_id, available_at=db_now(60))
    with database.write() as session:
        session.get_one(Job, second).available_at = db_now(-60)  # type: ignore[assignment]
    taken = []
    for _ in range(3):
        with database.write() as session:
            job = transitions.claim(session, "wrk_a", 30)
            taken.append(job.id if job else None)
    assert taken == [second, first, None]
    with database.write() as session:
        gone = transitions.claim(
            session, "wrk_a", 30, new_id("job")
        )  # cancelled and deleted since it was seen
    assert gone is None
    job = read(database, second)
    assert (job.attempt, job.worker_id, job.state) == (1, "wrk_a", "running")
    assert job.started_at is not None
    assert job.lease_expires_at is not None
    assert read(database, later).state == JobState.QUEUED


def test_two_threads_claim_one_job(database: Database, dataset_id: str) -> None:
    """Of all who come at once, one gets the job; with the id given and without."""
    for number in range(20):
        job_id = add_job(database, dataset_id)
        barrier = threading.Barrier(4)

        def claim(
            worker: int, job_id: str = job_id, barrier: threading.Barrier = barrier, number: int = number
        ) -> int | None:
            barrier.wait()
            with database.write() as session:
                job = transitions.claim(session, f"wrk_{worker}", 30, job_id if number % 2 else None)
                return worker if job is not None else None

        with ThreadPoolExecutor(4) as pool:
            winners = [found for found in pool.map(claim, range(4)) if found is not None]
        assert len(winners) == 1
        job = read(database, job_id)
        assert (job.attempt, job.worker_id) == (1, f"wrk_{winners[0]}")
        assert history(database, job_id) == [(1, "job.claimed")]


def test_many_threads_empty_a_queue_and_each_job_is_had_once(database: Database, dataset_id: str) -> None:
    ids = {add_job(database, dataset_id) for _ in range(60)}
    taken: list[str] = []

    def work(worker: int) -> None:
        while True:
            with database.write() as session:
                job = transitions.claim(session, f"wrk_{worker}", 30)
            if job is None:
                return
            taken.append(job.id)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A claimer that finds the next job locked passes over it, and the last ones may find all of them locked.
    with database.write() as session:
        while (job := transitions.claim(session, "wrk_last", 30)) is not None:
            taken.append(job.id)
    assert sorted(taken) == sorted(ids)


def test_cancel_races_finish(database: Database, dataset_id: str) -> None:
    """F26: 200 running jobs are cancelled (STOPPED) and finished at the same moment; one of both wins."""
    rng = random.Random(20261125)
    outcomes: dict[str, int] = {"succeeded": 0, "cancelled": 0}
    refused = 0

    def attempt_at(job_id: str, event: JobEventType, barrier: threading.Barrier, order: int) -> bool:
        barrier.wait()
        if order:  # whoever is to come second gives way for about as long as a transaction takes
            threading.Event().wait(rng.uniform(0, 0.003))
        try:
            with database.write() as session:
                transitions.apply(session, job_id, event, attempt=1)
        except StaleAttemptError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        for number in range(200):
            job_id = add_job_in(database, dataset_id, JobState.RUNNING)
            barrier = threading.Barrier(2)
            events = (JobEventType.SUCCEEDED, JobEventType.STOPPED)
            futures = [
                pool.submit(attempt_at, job_id, event, barrier, (position + number) % 2)
                for position, event in enumerate(events)
            ]
            won = [future.result() for future in futures]
            assert sum(won) == 1, job_id
            refused += won.count(False)
            state = read(database, job_id).state
            assert state == ("succeeded" if won[0] else "cancelled")
            told = [kind for _, kind in history(database, job_id) if kind != "job.claimed"]
            assert told == [str(events[won.index(True)])]
            outcomes[state] += 1
    assert refused == 200
    assert min(outcomes.values()) >= 20, outcomes  # both really won some: the race was one


def test_a_stale_attempt_changes_nothing(database: Database, dataset_id: str) -> None:
    """F4 at the row: the first worker is frozen past its lease, and every later write of it is refused."""
    job_id = add_job_in(database, dataset_id, JobState.RUNNING)
    expire_lease(database, job_id)
    with database.write() as session:
        transitions.apply(
            session, job_id, JobEventType.LOST, attempt=1, only_if=(Job.lease_expires_at < db_now(),)
        )
        assert transitions.claim(session, "wrk_b", 30, job_id) is not None
    fenced = 0
    stale_events = [event for event, transition in TRANSITIONS.items() if transition.fenced]
    for event in stale_events:
        with pytest.raises(StaleAttemptError), database.write() as session:
            transitions.apply(session, job_id, event, attempt=1)
        fenced += 1
    with pytest.raises(StaleAttemptError), database.write() as session:
        transitions.renew(session, job_id, 1, 30)
    with pytest.raises(StaleAttemptError), database.write() as session:
        transitions.hold(session, job_id, 1, progress={"phase": "teacher"})
    assert fenced == 6
    job = read(database, job_id)
    assert (job.state, job.attempt, job.worker_id, job.progress) == ("running", 2, "wrk_b", None)
    with database.write() as session:
        assert transitions.renew(session, job_id, 2, 30) is False
        transitions.hold(session, job_id, 2, progress={"phase": "student"})
        transitions.apply(session, job_id, JobEventType.SUCCEEDED, attempt=2)
    assert history(database, job_id) == [
        (1, "job.claimed"),
        (1, "job.lost"),
        (2, "job.claimed"),
        (2, "job.succeeded"),
    ]


def test_a_lease_that_was_renewed_in_time_is_not_taken_away(database: Database, dataset_id: str) -> None:
    job_id = add_job_in(database, dataset_id, JobState.RUNNING)
    with pytest.raises(StaleAttemptError), database.write() as session:
        transitions.apply(
            session, job_id, JobEventType.LOST, attempt=1, only_if=(Job.lease_expires_at < db_now(),)
        )
    assert read(database, job_id).state == JobState.RUNNING


def test_a_wish_to_cancel_is_heard_with_the_next_renewal(database: Database, dataset_id: str) -> None:
    job_id = add_job_in(database, dataset_id, JobState.RUNNING)
    with database.write() as session:
        assert transitions.renew(session, job_id, 1, 30) is False
        version = transitions.wish_cancellation(session, job_id).version
        assert transitions.renew(session, job_id, 1, 30) is True
    assert version == read(database, job_id).version == 3
    with pytest.raises(InvalidTransitionError), database.write() as session:
        transitions.wish_cancellation(session, job_id)


@pytest.mark.parametrize("state", [JobState.QUEUED, *sorted(TERMINAL)])
def test_only_a_running_job_takes_a_wish(database: Database, dataset_id: str, state: JobState) -> None:
    job_id = add_job_in(database, dataset_id, state)
    expected = TerminalStateError if state in TERMINAL else InvalidTransitionError
    with pytest.raises(expected), database.write() as session:
        transitions.wish_cancellation(session, job_id)


def test_events_of_one_job_are_numbered_in_the_order_of_their_transactions(
    database: Database, dataset_id: str
) -> None:
    job_id = add_job_in(database, dataset_id, JobState.RUNNING)

    def write(_: int) -> None:
        with database.write() as session:
            transitions.hold(session, job_id, 1)
            version = session.scalar(select(Job.version).where(Job.id == job_id))
            transitions.record_event(session, job_id, 1, "note", {"version": version})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(60)))
    with database.read() as session:
        notes = session.scalars(
            select(JobEvent.data)
            .where(JobEvent.job_id == job_id, JobEvent.type == "note")
            .order_by(JobEvent.id)
        ).all()
    versions = [note["version"] for note in notes]
    assert versions == sorted(versions)
    assert len(versions) == 60
