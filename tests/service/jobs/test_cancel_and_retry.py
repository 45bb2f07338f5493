from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from file_requests import check_refusal
from job_records import SPEC, add_dataset, add_job, add_job_in, add_model, expire_lease
from service_fixtures import ServiceUnderTest, make_app
from sqlalchemy import func, select, update

from fdkd_core.spec import load_spec
from service.db import db_now
from service.errors import StaleAttemptError
from service.jobs import transitions
from service.jobs.schemas import JobRead
from service.jobs.states import TERMINAL, JobEventType, JobState
from service.scopes import LOCAL_OWNER
from service.tables import Dataset, Job, JobEvent, Model


def events(api: ServiceUnderTest, job_id: str) -> list[str]:
    with api.database.read() as session:
        return list(
            session.scalars(select(JobEvent.type).where(JobEvent.job_id == job_id).order_by(JobEvent.id))
        )


def test_a_queued_job_is_cancelled_at_once(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job(api.database, dataset_id, spec=load_spec(SPEC).model_dump(mode="json"))
    answer = api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert answer.status_code == 200
    job = JobRead.model_validate_json(answer.text)
    assert (job.state, job.cancel_requested) == ("cancelled", True)
    assert job.finished_at is not None
    assert answer.json() == api.client.get(f"/v1/jobs/{job_id}").json()
    again = api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert (again.status_code, again.content) == (200, answer.content)
    assert events(api, job_id) == ["job.cancelled"]
    with api.database.write() as session:
        assert transitions.claim(session, "wrk_a", 30) is None


def test_a_running_job_is_asked_to_stop(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job_in(api.database, dataset_id, JobState.RUNNING)
    answer = api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["cancel_requested"]) == ("running", True)
    assert answer.json() == api.client.get(f"/v1/jobs/{job_id}").json()
    again = api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert (again.status_code, again.content) == (200, answer.content)
    assert events(api, job_id) == ["job.claimed", "job.cancel_requested"]
    with api.database.write() as session:
        assert transitions.renew(session, job_id, 1, 30) is True
        transitions.apply(session, job_id, JobEventType.STOPPED, attempt=1)
    assert api.client.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED])
def test_what_has_ended_is_not_cancelled(api: ServiceUnderTest, dataset_id: str, state: JobState) -> None:
    job_id = add_job_in(api.database, dataset_id, state)
    before = api.client.get(f"/v1/jobs/{job_id}").content
    answer = api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "terminal_state")
    assert answer.json()["state"] == state
    assert api.client.get(f"/v1/jobs/{job_id}").content == before


def test_cancelling_from_many_sides_at_once_is_noted_once(api: ServiceUnderTest, dataset_id: str) -> None:
    for state, statuses in ((JobState.QUEUED, [200] * 6), (JobState.RUNNING, [200] * 5 + [202])):
        job_id = add_job_in(api.database, dataset_id, state)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _, j=job_id: api.client.post(f"/v1/jobs/{j}/cancel"), range(6)))
        assert sorted(answer.status_code for answer in answers) == statuses
        assert len({answer.content for answer in answers}) == 1
        assert sum("cancel" in kind for kind in events(api, job_id)) == 1


def test_a_cancellation_that_meets_a_claim(api: ServiceUnderTest, dataset_id: str) -> None:
    """Cancelled before a worker had it, or noted for the worker who has it; never lost in between."""
    outcomes = set()
    for _ in range(30):
        job_id = add_job(api.database, dataset_id)
        barrier = threading.Barrier(2)

        def claim(job_id: str = job_id, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            with api.database.write() as session:
                return transitions.claim(session, "wrk_a", 30, job_id) is not None

        with ThreadPoolExecutor(1) as pool:
            claimed = pool.submit(claim)
            barrier.wait()
            answer = api.client.post(f"/v1/jobs/{job_id}/cancel")
        job = api.client.get(f"/v1/jobs/{job_id}").json()
        assert job["cancel_requested"]
        assert job["state"] == ("running" if claimed.result() else "cancelled")
        assert answer.status_code == (202 if claimed.result() else 200)
        outcomes.add(job["state"])
    assert outcomes


def test_a_cancellation_that_meets_the_finish(api: ServiceUnderTest, dataset_id: str) -> None:
    """F26 at the API: the job says what became of it, whoever came first."""
    too_late = noted = 0
    for number in range(60):
        job_id = add_job_in(api.database, dataset_id, JobState.RUNNING)
        barrier = threading.Barrier(2)

        def finish(job_id: str = job_id, barrier: threading.Barrier = barrier, n: int = number) -> None:
            barrier.wait()
            threading.Event().wait((n % 8) * 0.001)
            with api.database.write() as session:
                wished = transitions.renew(session, job_id, 1, 30)
                event = JobEventType.STOPPED if wished else JobEventType.SUCCEEDED
                transitions.apply(session, job_id, event, attempt=1)

        with ThreadPoolExecutor(1) as pool:
            finished = pool.submit(finish)
            barrier.wait()
            answer = api.client.post(f"/v1/jobs/{job_id}/cancel")
            finished.result()
        state = api.client.get(f"/v1/jobs/{job_id}").json()["state"]
        if answer.status_code == 409:
            too_late += 1
            assert state == "succeeded"
        else:
            noted += 1
            assert (answer.status_code, state) == (202, "cancelled")
        assert sum(kind in ("job.succeeded", "job.stopped") for kind in events(api, job_id)) == 1
    assert too_late >= 3
    assert noted >= 3


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_ended_badly_is_tried_again(
    api: ServiceUnderTest, dataset_id: str, state: JobState
) -> None:
    model_id = add_model(api.database)
    document = load_spec(SPEC).model_dump(mode="json")
    job_id = add_job_in(
        api.database, dataset_id, state,
        spec=document, labels={"a": "b"}, given={"teacher": model_id}, work_key="job_a/attempt-2",
    )  # fmt: skip
    before = api.client.get(f"/v1/jobs/{job_id}").content
    answer = api.client.post(f"/v1/jobs/{job_id}/retry")
    assert answer.status_code == 201
    job = JobRead.model_validate_json(answer.text)
    assert answer.headers["location"] == f"/v1/jobs/{job.id}"
    assert job.id != job_id
    assert (job.retry_of, job.state, job.attempt, job.metadata) == (job_id, "queued", 0, {"a": "b"})
    assert answer.json()["spec"] == document
    assert (job.dataset_id, job.teacher_model_id) == (dataset_id, model_id)
    assert api.client.get(f"/v1/jobs/{job_id}").content == before
    assert events(api, job.id) == ["job.queued"]
    with api.database.read() as session:
        row = session.get_one(Job, job.id)
        assert (row.work_key, row.owner_id, row.losses) == ("job_a/attempt-2", LOCAL_OWNER, 0)


@pytest.mark.parametrize("state", [s for s in JobState if s not in (JobState.FAILED, JobState.CANCELLED)])
def test_other_jobs_are_not_tried_again(api: ServiceUnderTest, dataset_id: str, state: JobState) -> None:
    job_id = add_job_in(api.database, dataset_id, state)
    answer = api.client.post(f"/v1/jobs/{job_id}/retry")
    code = "terminal_state" if state in TERMINAL else "not_terminal"
    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert len(api.client.get("/v1/jobs").json()["data"]) == 1


@pytest.mark.parametrize("table", [Dataset, Model])
def test_a_retry_needs_its_inputs(
    api: ServiceUnderTest, dataset_id: str, table: type[Dataset] | type[Model]
) -> None:
    model_id = add_model(api.database)
    job_id = add_job_in(api.database, dataset_id, JobState.FAILED, given={"teacher": model_id})
    with api.database.write() as session:
        session.execute(update(table).values(deleted_at=db_now()))
    answer = api.client.post(f"/v1/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")


def test_a_retry_waits_in_the_same_queue(database_url: str, tmp_path: Path) -> None:
    with make_app(database_url, tmp_path, max_queued_jobs=1) as api:
        dataset_id = add_dataset(api.database)
        one, other = (add_job_in(api.database, dataset_id, JobState.FAILED) for _ in range(2))
        assert api.client.post(f"/v1/jobs/{one}/retry").status_code == 201
        assert api.client.post(f"/v1/jobs/{other}/retry").status_code == 429


def test_a_job_is_not_repeated_twice_at_once(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job_in(api.database, dataset_id, JobState.FAILED)
    first = api.client.post(f"/v1/jobs/{job_id}/retry").json()["id"]
    problem = check_refusal(api.client.post(f"/v1/jobs/{job_id}/retry"), 409, "already_retried")
    assert problem["retried_by"] == first
    assert first in problem["detail"]
    assert api.client.post(f"/v1/jobs/{first}/cancel").status_code == 200
    assert api.client.post(f"/v1/jobs/{job_id}/retry").status_code == 201


def test_a_retry_is_made_once_under_one_key(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job_in(api.database, dataset_id, JobState.FAILED)
    headers = {"Idempotency-Key": "k"}
    first = api.client.post(f"/v1/jobs/{job_id}/retry", headers=headers)
    again = api.client.post(f"/v1/jobs/{job_id}/retry", headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    with api.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 2


def test_the_wish_to_cancel_outlives_a_lost_worker(api: ServiceUnderTest, dataset_id: str) -> None:
    """F27: a worker that is frozen hears of no cancellation; whoever heals its job does."""
    job_id = add_job_in(api.database, dataset_id, JobState.RUNNING)
    assert api.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    expire_lease(api.database, job_id)
    with api.database.write() as session:
        wished = session.scalar(select(Job.cancel_requested_at).where(Job.id == job_id))
        assert wished is not None
        transitions.apply(
            session, job_id, JobEventType.STOPPED, attempt=1, only_if=(Job.lease_expires_at < db_now(),)
        )
    assert api.client.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"

    def wake() -> None:
        with api.database.write() as session:
            transitions.renew(session, job_id, 1, 30)

    with pytest.raises(StaleAttemptError):
        wake()
