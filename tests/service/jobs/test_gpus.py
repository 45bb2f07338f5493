"""Jobs of several GPUs: refused where no worker has them, and taken by workers that do."""

from __future__ import annotations

from typing import Any

from family_records import compare, given_teacher
from service_fixtures import ServiceUnderTest
from sqlalchemy import delete, insert, select, update

from service.db import db_now
from service.jobs import line, transitions
from service.tables import Job, Worker


def spec(gpus: int, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "train",
        "dataset": "small",
        "task": {"kind": "classification"},
        "student": {"modality": "audio"},
        "resources": {"gpus": gpus},
        "training": {"batch_size": 32},
        **changes,
    }


def add_worker(api: ServiceUnderTest, gpus: int) -> None:
    values = {"id": f"wrk_{gpus}", "host": "h", "pid": 1, "mode": "polling", "slots": 1, "version": "1"}
    with api.database.write() as session:
        session.execute(insert(Worker).values(**values, gpus=gpus))


def test_no_job_waits_for_gpus_that_nobody_has(api: ServiceUnderTest, dataset_id: str) -> None:
    def refusal(path: str) -> str | None:
        answer = api.client.post(path, json={"spec": spec(2, dataset=dataset_id)})
        if answer.status_code in (200, 201):
            return None
        assert answer.status_code == 422
        (problem,) = answer.json()["errors"]
        assert (problem["code"], problem["pointer"]) == ("not_available", "/spec/resources/gpus")
        return str(problem["detail"])

    assert refusal("/v1/jobs") is None, "no worker is there, and nobody knows"
    add_worker(api, 0)
    words = "asks for 2 GPUs; the largest worker that is there has no GPU"
    assert refusal("/v1/jobs") == words
    assert refusal("/v1/jobs?validate_only=true") == words
    add_worker(api, 1)
    assert refusal("/v1/jobs") == f"{words.removesuffix('no GPU')}1 GPU for one job"
    add_worker(api, 4)
    assert refusal("/v1/jobs") is None
    assert refusal("/v1/jobs?validate_only=true") is None


def test_workers_that_were_not_heard_of_for_long_do_not_count(api: ServiceUnderTest, dataset_id: str) -> None:
    add_worker(api, 0)
    with api.database.write() as session:
        session.execute(update(Worker).values(heartbeat_at=db_now(-3600)))
    assert api.client.post("/v1/jobs", json={"spec": spec(2, dataset=dataset_id)}).status_code == 201


def test_a_batch_that_cannot_be_shared_is_refused(api: ServiceUnderTest, dataset_id: str) -> None:
    body = spec(4, dataset=dataset_id, training={"batch_size": 12, "log_gradient_norms": True})
    answer = api.client.post("/v1/jobs", json={"spec": body})
    assert answer.status_code == 422
    assert {(p["code"], p["pointer"]) for p in answer.json()["errors"]} == {
        ("incompatible", "/spec/training/batch_size"),
        ("not_supported", "/spec/training/log_gradient_norms"),
    }


def test_a_worker_passes_over_jobs_that_are_too_large_for_it(api: ServiceUnderTest, dataset_id: str) -> None:
    large = api.client.post("/v1/jobs", json={"spec": spec(2, dataset=dataset_id)}).json()["id"]
    small = api.client.post("/v1/jobs", json={"spec": spec(1, dataset=dataset_id)}).json()["id"]

    def take(gpus: int) -> str | None:
        with api.database.write() as session:
            job = transitions.claim(session, "wrk_1", 30, gpus=gpus)
            return None if job is None else job.id

    with api.database.write() as session:
        assert transitions.claim(session, "wrk_1", 30, large) is None
    assert take(0) == small
    assert take(1) is None
    with api.database.read() as session:
        assert not line.is_anyone_due(session, 1)
        assert line.is_anyone_due(session, 2)
    assert take(2) == large


def test_of_a_comparison_only_the_trainings_need_them(api: ServiceUnderTest, dataset_id: str) -> None:
    teacher = given_teacher(api.database)
    body = {**compare(teacher=teacher), "resources": {"gpus": 2}}
    parent = api.client.post("/v1/jobs", json={"spec": body}).json()["id"]
    with api.database.read() as session:
        found = {row.id: row.gpus for row in session.execute(select(Job.id, Job.gpus))}
    assert found.pop(parent) == 1
    assert found
    assert set(found.values()) == {2}


def test_a_job_is_not_repeated_for_gpus_that_nobody_has(api: ServiceUnderTest, dataset_id: str) -> None:
    wanted = {"gpus": 4}
    for body in (spec(4, dataset=dataset_id), compare(resources=wanted, training={"batch_size": 32})):
        job_id = api.client.post("/v1/jobs", json={"spec": body}).json()["id"]
        assert api.client.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
        with api.database.write() as session:
            session.execute(delete(Worker))
        again = api.client.post(f"/v1/jobs/{job_id}/retry")
        assert again.status_code == 201, "nobody knows"
        api.client.post(f"/v1/jobs/{again.json()['id']}/cancel")
        add_worker(api, 1)
        answer = api.client.post(f"/v1/jobs/{job_id}/retry")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "not_available")
        with api.database.write() as session:
            session.execute(delete(Worker))


def test_the_catalogue_says_what_may_be_asked_for(api: ServiceUnderTest) -> None:
    found = api.client.get("/v1/catalog").json()["resources"]
    assert found["properties"]["gpus"]["maximum"] == 16
