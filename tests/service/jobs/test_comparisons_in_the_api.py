"""What clients see of a comparison: answers, lists, tags, limits, and what its children hold."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from family_records import ARMS, COMPARE, children, compare, fail, given_teacher, stop, succeed, take
from job_records import add_dataset, add_job
from service_fixtures import ServiceUnderTest, make_app
from sqlalchemy import func, select, text

from fdkd_core.spec import load_spec
from service import schema
from service.jobs import transitions
from service.jobs.families import TEACHER
from service.jobs.schemas import JobRead, Validated
from service.jobs.states import JobEventType
from service.tables import Job


@pytest.fixture
def post(api: ServiceUnderTest, dataset_id: str) -> Any:
    def post(key: str | None = None, **changes: Any) -> dict[str, Any]:
        headers = {"Idempotency-Key": key} if key else {}
        body = {"spec": compare(**changes), "metadata": {"team": "blau"}}
        answer = api.client.post("/v1/jobs", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        JobRead.model_validate_json(answer.text)
        return dict(answer.json())

    return post


def count(api: ServiceUnderTest) -> int:
    with api.database.read() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def listed(api: ServiceUnderTest, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.client.get("/v1/jobs", params=query).json()["data"]
    for job in found:
        JobRead.model_validate(job, strict=False)
    return found


def test_a_comparison_and_its_children_as_they_are_shown(api: ServiceUnderTest, post: Any) -> None:
    job = post()
    assert (job["kind"], job["parent_id"], job["is_blocked"]) == ("compare", None, True)
    assert job["children"] == {
        "queued": 5, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "adopted": {},
    }  # fmt: skip
    assert job["spec"] == load_spec(COMPARE).model_dump(mode="json")
    found = listed(api, parent_id=job["id"])
    assert [child["name"] for child in reversed(found)] == [TEACHER, *ARMS]
    assert [child["kind"] for child in reversed(found)] == ["train", *["study"] * 4]
    assert [child["is_blocked"] for child in reversed(found)] == [False, *[True] * 4]
    for child in found:
        assert (child["parent_id"], child["children"], child["metadata"]) == (
            job["id"],
            None,
            {"team": "blau"},
        )
        assert api.client.get(f"/v1/jobs/{child['id']}").json() == child


def test_lists_hide_children_unless_they_are_asked_for(
    api: ServiceUnderTest, post: Any, dataset_id: str
) -> None:
    spec = {**COMPARE, "kind": "distill"}
    for name in ("methods", "fake_teachers"):
        del spec[name]
    alone = add_job(api.database, dataset_id, spec=load_spec(spec).model_dump(mode="json"))
    job = post()
    assert [found["id"] for found in listed(api)] == [job["id"], alone]
    assert [found["id"] for found in listed(api, kind="compare")] == [job["id"]]
    assert listed(api, kind="study") == []
    assert len(listed(api, kind="study", include_children="true")) == 4
    everything = listed(api, include_children="true")
    assert [found["id"] for found in everything][:2] == [job["id"], listed(api, parent_id=job["id"])[0]["id"]]
    assert len(everything) == 7
    assert len(listed(api, state="queued")) == 2
    assert len(listed(api, state="queued", parent_id=job["id"])) == 5
    assert listed(api, parent_id="job_x") == []
    page = api.client.get("/v1/jobs?limit=3&include_children=true").json()
    rest = api.client.get(f"/v1/jobs?include_children=true&cursor={page['next_cursor']}").json()
    assert page["data"] + rest["data"] == everything
    assert api.client.get(f"/v1/jobs?cursor={page['next_cursor']}").status_code == 400
    assert api.client.get("/v1/jobs?include_children=maybe").status_code == 422


def test_the_same_request_again_makes_no_second_family(api: ServiceUnderTest, post: Any) -> None:
    assert post("k") == post("k")
    assert count(api) == 6


def test_a_dry_run_makes_every_check_and_writes_nothing(api: ServiceUnderTest, dataset_id: str) -> None:
    answer = api.client.post("/v1/jobs?validate_only=true", json={"spec": compare()})
    assert answer.status_code == 200
    Validated.model_validate_json(answer.text)
    assert answer.json()["children"] == [TEACHER, *ARMS]
    for wrong, pointer in (
        ({"methods": [{"name": "logit_kd"}, {"name": "fd_cmkd", "cutoff": 7}]}, "/spec/methods/1/"),
        ({"teacher": {"modality": "picture"}}, "/spec/teacher/modality"),
    ):
        for query in ("", "?validate_only=true"):
            answer = api.client.post(f"/v1/jobs{query}", json={"spec": compare(**wrong)})
            assert answer.status_code == 422
            (error,) = answer.json()["errors"]
            assert error["pointer"].startswith(pointer)
    assert count(api) == 0


def test_the_tag_of_a_comparison_changes_with_its_children(api: ServiceUnderTest, post: Any) -> None:
    parent_id = post()["id"]
    seen: dict[str, bytes] = {}

    def look() -> None:
        answer = api.client.get(f"/v1/jobs/{parent_id}")
        assert seen.setdefault(answer.headers["etag"], answer.content) == answer.content
        JobRead.model_validate_json(answer.text)

    look()
    database = api.database
    teacher = take(database)
    look()
    with database.write() as session:
        transitions.apply(session, teacher.id, JobEventType.YIELDED, attempt=1)
    look()
    succeed(database, take(database))
    look()
    first, second = take(database), take(database)
    look()
    fail(database, second)
    look()
    api.client.post(f"/v1/jobs/{parent_id}/cancel")
    look()
    stop(database, first)
    look()
    assert len(seen) == 8


def test_the_history_tells_of_the_children(api: ServiceUnderTest, post: Any) -> None:
    parent_id = post()["id"]
    teacher = take(api.database)
    succeed(api.database, teacher)
    events = api.client.get(f"/v1/jobs/{parent_id}/events").json()["data"]
    assert [event["type"] for event in events] == ["job.queued", "job.children_started", "job.child_ended"]
    assert events[-1]["data"] == {"child": teacher.id, "name": "teacher", "state": "succeeded"}
    queued = api.client.get(f"/v1/jobs/{teacher.id}/events").json()["data"][0]
    assert queued["type"] == "job.queued"


def test_what_children_read_is_not_deleted(api: ServiceUnderTest, dataset_id: str, post: Any) -> None:
    database = api.database
    teacher = given_teacher(database)
    job = post(teacher=teacher)
    for name in ARMS[:-1]:
        succeed(database, take(database, name))
    last = take(database)
    for path in (f"datasets/{dataset_id}", f"models/{teacher['model']}"):
        assert api.client.delete(f"/v1/{path}").json()["code"] == "in_use"
    succeed(database, last)
    assert api.client.delete(f"/v1/datasets/{dataset_id}").json()["code"] == "in_use"
    succeed(database, take(database))
    for path in (f"datasets/{dataset_id}", f"models/{teacher['model']}"):
        assert api.client.delete(f"/v1/{path}").status_code == 204
    assert api.client.get(f"/v1/jobs/{job['id']}").status_code == 200


def test_a_comparison_waits_as_one_job(database_url: str, tmp_path: Any) -> None:
    with make_app(database_url, tmp_path, max_queued_jobs=2) as api:
        add_dataset(api.database)
        bodies = [{"spec": compare()}] * 2
        assert [api.client.post("/v1/jobs", json=body).status_code for body in bodies] == [201, 201]
        for query in ("", "?validate_only=true"):
            assert (
                api.client.post(f"/v1/jobs{query}", json={"spec": compare()}).json()["code"] == "queue_full"
            )
        take(api.database)
        assert api.client.post("/v1/jobs", json={"spec": compare()}).status_code == 201
        assert count(api) == 18


def test_workers_hear_of_every_job_that_may_be_taken(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with make_app(database_url, tmp_path, broker_url=redis_url) as api:
        add_dataset(api.database)

        def heard(number: int) -> None:
            deadline = time.monotonic() + 10
            while api.context.wake_up.num_sent != number:
                assert time.monotonic() < deadline, api.context.wake_up.num_sent
                time.sleep(0.01)

        teacher = given_teacher(api.database)
        posted = api.client.post("/v1/jobs", json={"spec": compare(teacher=teacher)}).json()
        heard(4)  # every arm
        for name in ARMS[:-1]:
            succeed(api.database, take(api.database, name))
        last = children(api.database, posted["id"])[ARMS[-1]]
        api.client.post(f"/v1/jobs/{last.id}/cancel")
        heard(5)  # the conclusion
        api.client.post("/v1/jobs", json={"spec": compare()})
        heard(6)  # the teacher, and not the arms that wait for it


def test_of_a_lost_connection_nothing_is_left(
    api: ServiceUnderTest, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A family is written whole or not at all."""
    from service.jobs import repository

    def fail_late(session: Any, job_ids: list[str]) -> None:
        raise ConnectionError

    monkeypatch.setattr(repository, "record_queued", fail_late)
    with pytest.raises(ConnectionError):
        api.client.post("/v1/jobs", json={"spec": compare()})
    assert count(api) == 0


def test_the_release_before_does_not_start_what_waits(api: ServiceUnderTest, post: Any) -> None:
    post()
    running = take(api.database)
    url = api.settings.resolved_database_url
    api.database.close()
    schema.take_back(url, "first_tables")
    with api.database.read() as session:
        assert set(session.scalars(text("SELECT state FROM jobs"))) == {"cancelled"}
    schema.migrate(url)
    found = children(api.database, str(running.parent_id))
    assert found == {}
