from __future__ import annotations

import random

import pytest
from job_records import SPEC, add_dataset, add_job, add_job_in, add_model, spec
from service_fixtures import ServiceUnderTest
from sqlalchemy import event, insert, text

from fdkd_core.spec import load_spec
from service.identifiers import new_id
from service.jobs import transitions
from service.jobs.schemas import JobRead
from service.jobs.states import JobEventType, JobState
from service.scopes import LOCAL_OWNER
from service.tables import Job

DOCUMENT = load_spec(SPEC).model_dump(mode="json")
BAD_IDS = [
    "x", "job_", "job_" + "0" * 25, "job_" + "0" * 27, "JOB_" + "0" * 26, "ds_" + "0" * 26, "job_" + "u" * 26,
    "job_" + "0" * 25 + "%00", "%00", "1%20OR%201=1", "';DROP TABLE jobs;--", "..%2f..%2fkeys", "%2e%2e",
    "job_" + "0" * 6000, "job_%F0%9F%98%80", "null", "job_" + "0" * 25 + "%0A",
]  # fmt: skip


def test_every_state_is_shown_as_documented(api: ServiceUnderTest, dataset_id: str) -> None:
    for state in JobState:
        job_id = add_job_in(api.database, dataset_id, state, spec=DOCUMENT, labels={"a": "b"})
        with api.database.write() as session:
            if state is JobState.RUNNING:
                progress = {"phase": "teacher", "step": 1, "total_steps": 9, "epoch": 1, "eta_s": 2.5}
                transitions.hold(session, job_id, 1, progress=progress)
        if state is JobState.SUCCEEDED:
            # The core's result is its own; here it only has to be passed through.
            with api.database.write() as session:
                session.get_one(Job, job_id).result = None
        answer = api.client.get(f"/v1/jobs/{job_id}")
        job = JobRead.model_validate_json(answer.text)
        assert job.state == state
        assert (job.started_at is not None) == (state not in ("queued", "cancelled"))
        assert (job.finished_at is not None) == (state not in ("queued", "running"))
        assert (job.models is not None) == (state == "succeeded")
        assert (job.progress is not None) == (state == "running")
        assert (job.error is not None) == (state == "failed")
        assert api.client.get(f"/v1/jobs?state={state}").json()["data"] == [answer.json()]


def test_the_models_of_a_succeeded_job_are_named(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job_in(api.database, dataset_id, JobState.SUCCEEDED)
    made = {
        role: add_model(api.database, name=role, source="job", role=role, job_id=job_id)
        for role in ("student", "teacher")
    }
    assert api.client.get(f"/v1/jobs/{job_id}").json()["models"] == made
    assert api.client.get("/v1/jobs").json()["data"][0]["models"] == made


def test_a_client_that_is_up_to_date_is_told_so(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job(api.database, dataset_id)
    first = api.client.get(f"/v1/jobs/{job_id}")
    tag = first.headers["etag"]
    assert tag.startswith('"')
    for held in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        same = api.client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": held})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    for held in ('"other"', tag.strip('"'), ""):
        assert api.client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": held}).status_code == 200


def test_the_tag_changes_with_everything_that_can_be_seen(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job(api.database, dataset_id)
    seen: dict[str, bytes] = {}

    def look() -> None:
        answer = api.client.get(f"/v1/jobs/{job_id}")
        assert seen.setdefault(answer.headers["etag"], answer.content) == answer.content

    def step(action: object) -> None:
        look()
        with api.database.write() as session:
            action(session)  # type: ignore[operator]
        look()

    step(lambda session: transitions.claim(session, "wrk_a", 30, job_id))
    step(lambda session: transitions.renew(session, job_id, 1, 30))
    step(lambda session: transitions.hold(session, job_id, 1, progress={"phase": "teacher"}))
    step(lambda session: transitions.wish_cancellation(session, job_id))
    step(lambda session: transitions.apply(session, job_id, JobEventType.LOST, attempt=1))
    step(lambda session: transitions.claim(session, "wrk_b", 30, job_id))
    step(lambda session: transitions.apply(session, job_id, JobEventType.STOPPED, attempt=2))
    assert len(seen) == 7


def test_jobs_of_others_and_jobs_that_are_none(api: ServiceUnderTest, dataset_id: str) -> None:
    foreign = add_job(api.database, dataset_id, owner_id=new_id("own"))
    for path in ("", "/events", "/metrics", "/logs", "/artifacts", "/artifacts/result.json"):
        bodies = []
        for job_id in (foreign, new_id("job")):
            answer = api.client.get(f"/v1/jobs/{job_id}{path}")
            assert answer.status_code == 404
            body = {k: v for k, v in answer.json().items() if k not in ("request_id", "instance")}
            bodies.append(str(body).replace(job_id, "it"))
        assert bodies[0] == bodies[1]
        for bad in BAD_IDS:
            answer = api.client.get(f"/v1/jobs/{bad}{path}")
            assert answer.status_code == 404, bad
            assert answer.headers["content-type"] == "application/problem+json"
            assert len(answer.content) < 16 << 10


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_nobody_acts_on_jobs_of_others(api: ServiceUnderTest, dataset_id: str, action: str) -> None:
    foreign = add_job_in(api.database, dataset_id, JobState.FAILED, owner_id=new_id("own"))
    for bad in (foreign, new_id("job"), *BAD_IDS):
        answer = api.client.post(f"/v1/jobs/{bad}/{action}", headers={"Idempotency-Key": "k"})
        assert answer.status_code == 404, bad


def test_a_list_is_read_page_by_page_while_it_grows(api: ServiceUnderTest, dataset_id: str) -> None:
    there = [add_job(api.database, dataset_id) for _ in range(25)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "7"} | ({"cursor": cursor} if cursor else {})
        page = api.client.get("/v1/jobs", params=parameters).json()
        assert set(page) == {"data", "has_more", "next_cursor"}
        seen += [job["id"] for job in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
        add_job(api.database, dataset_id)
    assert seen == sorted(there, reverse=True)


def test_filters(api: ServiceUnderTest, dataset_id: str) -> None:
    other = add_dataset(api.database, name="other")
    first = add_job(api.database, dataset_id, name="äpfel", kind="train")
    second = add_job_in(api.database, other, JobState.FAILED)
    add_job(api.database, dataset_id, owner_id=new_id("own"))

    def found(**filters: str) -> list[str]:
        return [job["id"] for job in api.client.get("/v1/jobs", params=filters).json()["data"]]

    assert found() == [second, first]
    assert found(state="failed") == [second]
    assert found(kind="train") == [first]
    assert found(name="äpfel") == [first]
    assert found(dataset_id=other) == [second]
    assert found(dataset_id=other, state="queued") == []
    assert found(name="' OR 1=1 --") == found(dataset_id="%") == []


REFUSED = [
    ("limit=0", "out_of_range"),
    ("limit=-1", "out_of_range"),
    ("limit=101", "out_of_range"),
    ("limit=1e9", "out_of_range"),
    ("sort=name", "unknown_filter"),
    ("name__startswith=a", "unknown_filter"),
    ("owner_id=x", "unknown_filter"),
    ("state=lost", "not_allowed"),
    ("state=queued&state=failed", "duplicate_key"),
    ("name=%00", "invalid_characters"),
    ("dataset_id=%00", "invalid_characters"),
    ("parent_id=job_%00", "invalid_characters"),
    ("dataset_id=" + "x" * 41, "out_of_range"),
]


def test_queries_that_are_refused(api: ServiceUnderTest) -> None:
    for query, code in REFUSED:
        answer = api.client.get(f"/v1/jobs?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, code), query


def test_a_cursor_leads_on_where_it_was_made_and_nowhere_else(api: ServiceUnderTest, dataset_id: str) -> None:
    owner = new_id("own")
    for _ in range(3):
        add_job(api.database, dataset_id)
        add_job(api.database, dataset_id, owner_id=owner)
    cursor = api.client.get("/v1/jobs?limit=1&state=queued").json()["next_cursor"]
    assert api.client.get(f"/v1/jobs?limit=2&state=queued&cursor={cursor}").status_code == 200
    middle = len(cursor) // 2
    forged = cursor[:middle] + ("A" if cursor[middle] != "A" else "B") + cursor[middle + 1 :]
    other = api.other_client("read", owner_id=owner)
    for client, query in (
        (api.client, f"state=queued&cursor={forged}"),
        (api.client, f"state=queued&cursor={cursor[:-1]}"),
        (api.client, "state=queued&cursor="),
        (api.client, "cursor=" + "A" * 7000),
        (api.client, f"state=running&cursor={cursor}"),
        (api.client, f"cursor={cursor}"),
        (api.client, f"state=queued&kind=distill&cursor={cursor}"),
        (other, f"state=queued&cursor={cursor}"),
    ):
        answer = client.get(f"/v1/jobs?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


def test_how_many_statements_a_request_takes(api: ServiceUnderTest, dataset_id: str) -> None:
    """Speed is measured in benchmarks; this holds what it rests on."""
    statements: list[str] = []
    engine = api.database.engine

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        statements.append(statement)

    def needed(method: str, path: str, **options: object) -> int:
        statements.clear()
        assert api.client.request(method, path, **options).status_code < 300  # type: ignore[arg-type]
        return len([text for text in statements if not text.startswith("BEGIN")])

    job_id = add_job(api.database, dataset_id)
    api.client.get(f"/v1/jobs/{job_id}")  # so that the key is remembered
    event.listen(engine, "before_cursor_execute", note)
    assert needed("GET", f"/v1/jobs/{job_id}") == 1
    assert needed("GET", "/v1/jobs") == 1
    # Job and event are one statement where that can be said.
    assert needed("POST", "/v1/jobs", json={"spec": spec()}) == (3 if api.database.is_sqlite else 2)
    event.remove(engine, "before_cursor_execute", note)


def test_lists_of_many_jobs_are_read_from_an_index(new_api: ServiceUnderTest) -> None:
    """Whatever the filter: as many rows are read as are shown."""
    api, dataset_id = new_api, add_dataset(new_api.database)
    rng = random.Random(1)
    rows = [
        {
            "id": new_id("job"), "owner_id": LOCAL_OWNER, "kind": "distill", "name": "old", "spec": {},
            "state": "succeeded", "dataset_id": dataset_id, "labels": {"n": str(rng.random())},
        }
        for _ in range(3000)
    ]  # fmt: skip
    with api.database.write() as session:
        session.execute(insert(Job), rows)
        if not api.database.is_sqlite:
            session.execute(text("ANALYZE jobs"))
    statements: list[tuple[str, object]] = []

    def note(connection: object, cursor: object, statement: str, parameters: object, *rest: object) -> None:
        if "FROM jobs" in statement:
            statements.append((statement, parameters))

    event.listen(api.database.engine, "before_cursor_execute", note)
    filters = ["", "state=queued", "kind=train", "name=new", f"dataset_id={dataset_id}", "name=old"]
    for query in filters:
        assert api.client.get(f"/v1/jobs?limit=50&{query}").status_code == 200
    event.remove(api.database.engine, "before_cursor_execute", note)
    assert len(statements) == len(filters)
    explain = "EXPLAIN QUERY PLAN " if api.database.is_sqlite else "EXPLAIN "
    for statement, parameters in statements:
        with api.database.engine.connect() as connection:
            plan = "\n".join(
                str(tuple(row))
                for row in connection.exec_driver_sql(explain + statement, parameters)  # type: ignore[arg-type]
            )
        assert "ix_jobs" in plan or "pk_jobs" in plan, plan
        if api.database.is_sqlite and "jobs.dataset_id = ?" in statement:
            assert "ix_jobs_dataset_id_id" in plan, plan
        assert "TEMP B-TREE" not in plan, plan
        assert "Sort" not in plan, plan
        assert "Seq Scan" not in plan, plan
