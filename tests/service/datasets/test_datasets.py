from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from file_requests import (
    FORM,
    check_refusal,
    dataset_form,
    files_of,
    form,
    names_of,
    nothing_lost,
    part,
    tar_bytes,
    zip_bytes,
)
from service_fixtures import ServiceUnderTest, make_app
from sqlalchemy import select
from stored_rows import insert_artifact, insert_dataset, insert_job, insert_model

from service import quota, validations
from service.datasets import repository, service
from service.db import Database
from service.errors import InUseError, NotFoundError, NotReadyError
from service.jobs.inputs import hold_inputs
from service.jobs.states import JobState
from service.scopes import LOCAL_OWNER
from service.tables import Dataset, Job, Upload

CONTENT = zip_bytes()
DATASETS = "/v1/datasets"


@pytest.fixture
def served(database_url: str, tmp_path: Path) -> Iterator[ServiceUnderTest]:
    with make_app(database_url, tmp_path / "data") as found:
        yield found


def post(served: ServiceUnderTest, name: str, content: bytes = CONTENT, file_name: str = "data.zip") -> Any:
    return served.client.post(DATASETS, content=dataset_form(name, content, file_name), headers=FORM)


def create(served: ServiceUnderTest, name: str) -> str:
    answer = post(served, name)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def listed(served: ServiceUnderTest, **params: Any) -> list[str]:
    answer = served.client.get(DATASETS, params=params)
    assert answer.status_code == 200, answer.text
    return [dataset["name"] for dataset in answer.json()["data"]]


def test_a_dataset_from_its_post_to_its_end(served: ServiceUnderTest) -> None:
    answer = post(served, "Digits", tar_bytes("gz"), "digits.tgz")
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == f"{DATASETS}/{made['id']}"
    assert made | {"created_at": ""} == {
        "id": made["id"], "name": "Digits", "state": "validating", "format": "tar.gz",
        "size_bytes": len(tar_bytes("gz")), "sha256": made["sha256"], "error": None, "report": None,
        "created_at": "", "validated_at": None,
    }  # fmt: skip
    assert served.client.get(answer.headers["location"]).json() == made
    assert files_of(served.settings) == {f"storage/datasets/{made['id']}/{made['id']}.tar.gz": made["sha256"]}
    with served.database.write() as session:
        claim = validations.claim(session, "wrk_a", 30)
        assert claim is not None
        assert claim.id == made["id"]
        validations.finish(session, claim, report={"rows": 7})
    shown = served.client.get(answer.headers["location"]).json()
    assert (shown["state"], shown["report"]) == ("ready", {"rows": 7})
    assert shown["validated_at"].endswith("Z")
    [summary] = served.client.get(DATASETS).json()["data"]
    del shown["report"]
    assert summary == shown
    assert served.client.delete(answer.headers["location"]).status_code == 204
    check_refusal(served.client.get(answer.headers["location"]), 404, "not_found")
    check_refusal(served.client.delete(answer.headers["location"]), 404, "not_found")
    assert listed(served) == []
    assert files_of(served.settings) == {}
    assert post(served, "digits").status_code == 201  # the name is free


def test_a_dataset_that_was_found_invalid(served: ServiceUnderTest) -> None:
    dataset_id = create(served, "digits")
    problems = [{"code": "invalid_label", "detail": "found -1", "row": 7}]
    error = {"code": "invalid_dataset", "message": "One problem.", "problems": problems}
    with served.database.write() as session:
        claim = validations.claim(session, "wrk_a", 30)
        assert claim is not None
        validations.finish(session, claim, error=error)
    shown = served.client.get(f"{DATASETS}/{dataset_id}").json()
    assert (shown["state"], shown["error"]) == ("invalid", error)
    assert listed(served, state="invalid") == ["digits"]
    assert listed(served, state="ready") == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_names(served: ServiceUnderTest) -> None:
    """B71: kept as written, or refused; never run, never a path."""
    kept = [
        "<img src=x onerror=alert(1)>", "{{7*7}}", "'; DROP TABLE datasets; --", "😀", "a/b", "..\\..", "Ωδή",
        "%s%n", "${jndi:ldap://x}", "x" * 128,
    ]  # fmt: skip
    for name in kept:
        made = post(served, name)
        assert made.status_code == 201
        assert made.json()["name"] == name
        assert served.client.get(DATASETS, params={"name": name}).json()["data"][0]["name"] == name
    refused = [
        ("", "out_of_range"), (" ", "invalid_characters"), ("x" * 10_240, "out_of_range"),
        (".", "not_allowed"), ("..", "not_allowed"), ("\u202eabc", "invalid_characters"),
        ("a\u200bb", "invalid_characters"),
        ("a\x00", "invalid_characters"), ("ds_" + "0" * 26, "not_allowed"), ("a ", "invalid_characters"),
    ]  # fmt: skip
    for name, code in refused:
        with nothing_lost(served.settings):
            problem = check_refusal(post(served, name), 422, code)
            assert [error["pointer"] for error in problem["errors"]] == ["/name"]
    assert sorted(listed(served, limit=100)) == sorted(kept)
    assert names_of(served.settings.storage_dir / "datasets") == sorted(
        dataset["id"] for dataset in served.client.get(DATASETS).json()["data"]
    )


def test_twins(served: ServiceUnderTest) -> None:
    create(served, "caf\u00e9")
    for twin in ("caf\u00e9", "cafe\u0301", "CAF\u00c9"):
        with nothing_lost(served.settings):
            check_refusal(post(served, twin), 409, "name_taken")
        assert listed(served, name=twin) == ["caf\u00e9"]
    stranger = served.other_client()
    body = dataset_form("caf\u00e9", CONTENT)
    assert stranger.post(DATASETS, content=body, headers=FORM).status_code == 201


def test_files_that_are_no_data(served: ServiceUnderTest) -> None:
    for content, file_name in (
        (b"\x7fELF" + bytes(100), "data.parquet"),
        (b"<!DOCTYPE html>", "data.zip"),
        (b"\x80\x04\x95", "data.npz"),
        (CONTENT, "data.parquet"),
        (b"", "data.zip"),
    ):
        with nothing_lost(served.settings):
            check_refusal(post(served, "digits", content, file_name), 422, "unsupported_format")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_json_that_is_wrong(served: ServiceUnderTest) -> None:
    whole = {"name": "a", "upload_id": "upl_x"}
    wrong: list[tuple[Any, int, str]] = [
        ({}, 422, "missing_field"),
        ({"name": "a"}, 422, "missing_field"),
        ({"upload_id": "upl_x"}, 422, "missing_field"),
        (whole | {"upload_id": 7}, 422, "wrong_type"),
        (whole | {"name": ".."}, 422, "not_allowed"),
        (whole | {"state": "ready"}, 422, "unknown_field"),
        ([], 422, "missing_body"),
        ("digits", 422, "missing_body"),
        (whole, 404, "not_found"),
    ]
    with nothing_lost(served.settings):
        for body, status, code in wrong:
            check_refusal(served.client.post(DATASETS, json=body), status, code)
        check_refusal(served.client.post(DATASETS, content=b"{"), 415, "unsupported_media_type")


NO_IDS = ["x", "ds_" + "0" * 26, "mdl_" + "0" * 26, "DS_" + "0" * 26, "ds_" + "0" * 7000, "' OR 1=1 --",
          "..%2f..%2fsecret", "ds_%00" + "0" * 25, "%F0%9F%98%80", "ds_" + "0" * 26 + "%0a"]  # fmt: skip


def test_ids_of_nothing(served: ServiceUnderTest) -> None:
    create(served, "digits")
    with nothing_lost(served.settings):
        for dataset_id in NO_IDS:
            for method in ("GET", "DELETE"):
                answer = served.client.request(method, f"{DATASETS}/{dataset_id}")
                check_refusal(answer, 404, "not_found")


def test_datasets_of_somebody_else_are_not_there(served: ServiceUnderTest) -> None:
    dataset_id = create(served, "digits")
    stranger = served.other_client()
    absent = "ds_" + "0" * 26
    with nothing_lost(served.settings):
        for method in ("GET", "DELETE"):
            theirs = stranger.request(method, f"{DATASETS}/{dataset_id}")
            nobodys = stranger.request(method, f"{DATASETS}/{absent}")
            check_refusal(theirs, 404, "not_found")
            same = ("type", "title", "status", "detail", "code", "errors")
            told = [theirs.text.replace(dataset_id, "it"), nobodys.text.replace(absent, "it")]
            assert len({str([json.loads(text)[key] for key in same]) for text in told}) == 1
        assert stranger.get(DATASETS).json() == {"data": [], "has_more": False, "next_cursor": None}


def test_a_reader_may_look_only(served: ServiceUnderTest) -> None:
    dataset_id = create(served, "digits")
    reader = served.other_client("read", owner_id=LOCAL_OWNER)
    with nothing_lost(served.settings):
        assert reader.get(DATASETS).status_code == reader.get(f"{DATASETS}/{dataset_id}").status_code == 200
        check_refusal(reader.delete(f"{DATASETS}/{dataset_id}"), 403, "missing_scope")
        body = dataset_form("other", CONTENT)
        check_refusal(reader.post(DATASETS, content=body, headers=FORM), 403, "missing_scope")


def test_lists(served: ServiceUnderTest) -> None:
    states = ("ready", "invalid", "validating")
    for number in range(7):
        insert_dataset(served.database, f"d{number}", state=states[number % 3])
    insert_dataset(served.database, "gone", deleted_at=datetime.now(UTC))
    insert_dataset(served.database, "theirs", owner_id="own_other")
    assert listed(served) == [f"d{number}" for number in reversed(range(7))]
    assert listed(served, state="ready") == ["d6", "d3", "d0"]
    assert listed(served, name="D3") == ["d3"]
    assert listed(served, name="d3", state="invalid") == []
    first = served.client.get(DATASETS, params={"limit": 3, "state": "ready"}).json()
    assert (first["has_more"], first["next_cursor"]) == (False, None)
    first = served.client.get(DATASETS, params={"limit": 3}).json()
    assert first["has_more"] is True
    assert "report" not in first["data"][0]
    assert listed(served, limit=3, cursor=first["next_cursor"]) == ["d3", "d2", "d1"]


def test_queries_that_are_wrong(served: ServiceUnderTest) -> None:
    for number in range(3):
        insert_dataset(served.database, f"d{number}")
    cursor = served.client.get(DATASETS, params={"limit": 1}).json()["next_cursor"]
    refusals: list[tuple[dict[str, Any], int, str]] = [
        *(({"limit": limit}, 422, "out_of_range") for limit in (0, -1, 101, 1001, "abc", "1e9")),
        ({"state": "running"}, 422, "not_allowed"),
        ({"name": ""}, 422, "out_of_range"),
        ({"name": "a\x00b"}, 422, "invalid_characters"),
        *(({key: "x"}, 422, "unknown_filter") for key in ("sort", "owner_id", "name__startswith", "sha256")),
        *(
            ({"cursor": text}, 400, "invalid_cursor")
            for text in ("", "x", "ds_" + "0" * 26, cursor[:-2], "Ω")
        ),
        ({"cursor": cursor, "state": "ready"}, 400, "invalid_cursor"),
        ({"cursor": cursor, "name": "d1"}, 400, "invalid_cursor"),
    ]
    with nothing_lost(served.settings):
        for params, status, code in refusals:
            check_refusal(served.client.get(DATASETS, params=params), status, code)
        check_refusal(served.other_client().get(DATASETS, params={"cursor": cursor}), 400, "invalid_cursor")
        check_refusal(served.client.get("/v1/models", params={"cursor": cursor}), 400, "invalid_cursor")
    assert listed(served, limit=1, cursor=cursor) == ["d1"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_paging_while_datasets_come_and_go(served: ServiceUnderTest) -> None:
    lasting = {insert_dataset(served.database, f"lasting {i}") for i in range(60)}
    passing = [insert_dataset(served.database, f"passing {i}") for i in range(60)]
    seen: list[str] = []
    cursor, random_number = None, random.Random(7)
    while True:
        params = {"limit": 7} | ({"cursor": cursor} if cursor else {})
        body = served.client.get(DATASETS, params=params).json()
        seen += [dataset["id"] for dataset in body["data"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
        for _ in range(4):
            insert_dataset(served.database, f"new {random_number.random()}")
            if passing:
                chosen = passing.pop(random_number.randrange(len(passing)))
                assert served.client.delete(f"{DATASETS}/{chosen}").status_code == 204
    assert len(seen) == len({*seen})
    assert lasting <= {*seen}


@pytest.mark.parametrize("state", list(JobState))
def test_deleting_what_a_job_reads(served: ServiceUnderTest, state: JobState) -> None:
    dataset_id, other = create(served, "digits"), create(served, "other")
    insert_job(served.database, dataset_id, state=state)
    if state in (JobState.QUEUED, JobState.RUNNING):
        with nothing_lost(served.settings):
            check_refusal(served.client.delete(f"{DATASETS}/{dataset_id}"), 409, "in_use")
    else:
        assert served.client.delete(f"{DATASETS}/{dataset_id}").status_code == 204
    assert served.client.delete(f"{DATASETS}/{other}").status_code == 204


def make_job_of(database: Database, dataset_id: str) -> bool:
    """Creates a job over the inputs that a submitted job holds; without them there is none."""
    try:
        with database.write() as session:
            hold_inputs(session, LOCAL_OWNER, dataset_id, {}, max_waiting=100)
            session.add(
                Job(
                    id=dataset_id.replace("ds_", "job_"), owner_id=LOCAL_OWNER, kind="train", name="job",
                    spec={}, dataset_id=dataset_id,
                )
            )  # fmt: skip
    except NotReadyError:
        return False
    return True


def test_deleting_races_a_new_job(served: ServiceUnderTest) -> None:
    """F25: either the job is there and so is its data, or the data is gone and there is no job."""
    outcomes = []
    for number in range(50):
        dataset_id = insert_dataset(served.database, f"d{number}")
        barrier = threading.Barrier(2)

        def delete(dataset_id: str = dataset_id, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            try:
                service.delete(served.context, LOCAL_OWNER, dataset_id)
            except InUseError:
                return False
            return True

        def use(dataset_id: str = dataset_id, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            return make_job_of(served.database, dataset_id)

        with ThreadPoolExecutor(2) as threads:
            deleting, using = threads.submit(delete), threads.submit(use)
            outcomes.append((deleting.result(), using.result()))
        with served.database.read() as session:
            job = session.scalar(select(Job).where(Job.dataset_id == dataset_id))
            deleted_at = session.get_one(Dataset, dataset_id).deleted_at
        assert (job is not None) == outcomes[-1][1]
        assert (deleted_at is not None) == outcomes[-1][0]
    assert {*outcomes} <= {(True, False), (False, True)}


def test_looking_up_by_id_or_name(served: ServiceUnderTest) -> None:
    dataset_id = insert_dataset(served.database, "Digits")
    with served.database.write() as session:
        for reference in (dataset_id, "Digits", "dIGITS"):
            assert repository.resolve(session, LOCAL_OWNER, reference, lock=True).id == dataset_id
        for owner_id, reference in (
            ("own_other", dataset_id),
            ("own_other", "Digits"),
            (LOCAL_OWNER, "ds_" + "0" * 26),
            (LOCAL_OWNER, "digit"),
        ):
            with pytest.raises(NotFoundError):
                repository.resolve(session, owner_id, reference)


def test_what_counts_against_the_quota(served: ServiceUnderTest) -> None:
    database = served.database
    dataset_id = insert_dataset(database, "a", size_bytes=1)
    insert_dataset(database, "gone", size_bytes=10, deleted_at=datetime.now(UTC))
    insert_dataset(database, "theirs", owner_id="own_other", size_bytes=10)
    insert_model(database, "m", size_bytes=100)
    job_id = insert_job(database, dataset_id, state=JobState.SUCCEEDED)
    insert_model(database, "student", size_bytes=10, source="job", job_id=job_id)
    insert_artifact(database, job_id, 1000)
    with database.write() as session:
        expires_at = datetime.now(UTC)
        session.add(
            Upload(id="upl_x", owner_id=LOCAL_OWNER, file_name="a", size_bytes=10_000, expires_at=expires_at)
        )
    with database.read() as session:
        assert quota.stored_bytes(session, LOCAL_OWNER) == 11_101
        assert quota.stored_bytes(session, "own_other") == 10
        assert quota.stored_bytes(session, "own_nobody") == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_earlier_datasets_stay_what_they_were(served: ServiceUnderTest) -> None:
    made = post(served, "digits").json()
    for content in (b"\x7fELF", zip_bytes({"a": b"b"})):
        post(served, "DIGITS", content)
        post(served, "", content)
        served.client.post(DATASETS, content=form(part("name", b"x")), headers=FORM)
    [stored] = files_of(served.settings).values()
    assert stored == made["sha256"] == hashlib.sha256(CONTENT).hexdigest()
