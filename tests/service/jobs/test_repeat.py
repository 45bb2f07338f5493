"""The same request again: `Idempotency-Key` on new jobs and on retries."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
from job_records import add_dataset, add_job_in, spec
from service_fixtures import ServiceUnderTest, make_app
from sqlalchemy import func, select, update

from service.db import Database, db_now
from service.idempotency import Intent, recall
from service.identifiers import new_id
from service.jobs.states import JobState
from service.scopes import LOCAL_OWNER
from service.tables import Dataset, IdempotencyKey, Job


def count(database: Database, table: Any = Job) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def post(
    api: ServiceUnderTest, key: str | None = "k", path: str = "/v1/jobs", **changes: Any
) -> httpx2.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return api.client.post(path, json={"spec": spec(**changes)}, headers=headers)


def test_the_same_request_gets_the_same_answer(api: ServiceUnderTest, dataset_id: str) -> None:
    first = post(api)
    assert "idempotent-replayed" not in first.headers
    job_id = first.json()["id"]
    assert api.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    again = post(api)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotent-replayed"] == "true"
    assert count(api.database) == 1


def test_a_body_is_compared_by_its_content(api: ServiceUnderTest, dataset_id: str) -> None:
    first = post(api)
    turned = b'{ "spec" : ' + str(dict(reversed(spec().items()))).replace("'", '"').encode() + b"}"
    again = api.client.post(
        "/v1/jobs", content=turned, headers={"Idempotency-Key": "k", "Content-Type": "application/json"}
    )
    assert again.headers.get("idempotent-replayed") == "true"
    assert again.content == first.content


def test_another_body_is_refused(api: ServiceUnderTest, dataset_id: str) -> None:
    post(api)
    other = post(api, name="another")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert count(api.database) == 1


def test_without_a_key_every_request_makes_a_job(api: ServiceUnderTest, dataset_id: str) -> None:
    assert post(api, None).json()["id"] != post(api, None).json()["id"]
    assert count(api.database, IdempotencyKey) == 0


def test_keys_that_are_none(api: ServiceUnderTest, dataset_id: str) -> None:
    for key in ("", "k" * 256, "schlüssel", "a\tb", "a\x7fb"):
        headers = [(b"Idempotency-Key", key.encode("latin-1"))]
        answer = api.client.post("/v1/jobs", json={"spec": spec()}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key"), key
    assert count(api.database) == 0


def test_two_keys_are_none(api: ServiceUnderTest, dataset_id: str) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = api.client.post("/v1/jobs", json={"spec": spec()}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


def test_the_longest_key(api: ServiceUnderTest, dataset_id: str) -> None:
    key = "k" * 255
    assert post(api, key).content == post(api, key).content


def test_keys_of_other_owners_and_other_routes_are_others(api: ServiceUnderTest, dataset_id: str) -> None:
    owner = new_id("own")
    add_dataset(api.database, owner_id=owner)
    client = api.other_client("read", "write", owner_id=owner)
    mine = post(api).json()
    theirs = client.post("/v1/jobs", json={"spec": spec()}, headers={"Idempotency-Key": "k"})
    assert theirs.status_code == 201
    assert "idempotent-replayed" not in theirs.headers
    assert theirs.json()["id"] != mine["id"]
    ended = [add_job_in(api.database, dataset_id, JobState.FAILED) for _ in range(2)]
    retries = [post(api, path=f"/v1/jobs/{job_id}/retry") for job_id in ended]
    assert [answer.status_code for answer in retries] == [201, 201]
    assert [answer.json()["retry_of"] for answer in retries] == ended


def test_what_was_refused_is_judged_anew(api: ServiceUnderTest) -> None:
    assert post(api).status_code == 404
    assert post(api, training={"epochs": 0}).status_code == 422
    add_dataset(api.database)
    made = post(api)
    assert made.status_code == 201
    assert "idempotent-replayed" not in made.headers


def test_a_key_is_forgotten_after_its_time(database_url: str, tmp_path: Path) -> None:
    with make_app(database_url, tmp_path, idempotency_expiry_s=3600) as api:
        add_dataset(api.database)
        first = post(api)
        with api.database.write() as session:
            left = session.scalar(select(IdempotencyKey.expires_at - db_now()))
            assert 3500 < left <= 3600  # type: ignore[operator]
            session.execute(update(IdempotencyKey).values(expires_at=db_now(-1)))
        second = post(api, name="another body")
        assert second.status_code == 201
        assert second.json()["id"] != first.json()["id"]
        assert post(api, name="another body").content == second.content
        assert count(api.database, IdempotencyKey) == 1


def test_a_dry_run_uses_no_key_up(api: ServiceUnderTest, dataset_id: str) -> None:
    assert post(api, path="/v1/jobs?validate_only=true").status_code == 200
    assert post(api).status_code == 201


def test_requests_at_the_same_time_make_one_job(api: ServiceUnderTest, dataset_id: str) -> None:
    for number in range(5):
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _, key=f"k{number}": post(api, key), range(8)))
        made = [answer for answer in answers if answer.status_code == 201]
        for answer in answers:
            if answer.status_code != 201:
                assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_progress")
                assert int(answer.headers["retry-after"]) >= 1
        assert len({answer.content for answer in made}) == 1
        assert count(api.database) == number + 1


def test_while_the_first_request_is_being_served(api: ServiceUnderTest, dataset_id: str) -> None:
    """B27: the first has taken its turn and not ended; the second is told so, or waits behind it."""
    intent = Intent.of(LOCAL_OWNER, "POST /v1/jobs", "k", {})
    with ThreadPoolExecutor(1) as pool:
        with api.database.write() as session:
            assert recall(session, intent) is None
            answer = pool.submit(post, api)
            if api.database.is_sqlite:
                threading.Event().wait(0.3)
                assert not answer.done()
            else:
                second = answer.result(5)
                assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_progress")
                assert second.headers["retry-after"] == "1"
        assert answer.result(10).status_code == (201 if api.database.is_sqlite else 409)


def test_the_key_and_its_job_are_written_together_or_not_at_all(
    api: ServiceUnderTest, dataset_id: str
) -> None:
    with api.database.write() as session:
        session.execute(update(Dataset).values(state="invalid"))
    assert post(api).status_code == 409
    assert (count(api.database), count(api.database, IdempotencyKey)) == (0, 0)
