from __future__ import annotations

import pytest
from job_records import add_job, add_job_in
from service_fixtures import ServiceUnderTest
from sqlalchemy import insert

from service.jobs import transitions
from service.jobs.schemas import EventRead, LogRead, MetricRead
from service.jobs.states import JobState
from service.tables import JobLog, JobMetric


def test_events_are_told_in_order(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job_in(api.database, dataset_id, JobState.SUCCEEDED)
    add_job_in(api.database, dataset_id, JobState.FAILED)
    page = api.client.get(f"/v1/jobs/{job_id}/events").json()
    assert set(page) == {"data", "has_more", "next_cursor"}
    assert [event["type"] for event in page["data"]] == ["job.claimed", "job.succeeded"]
    assert page["data"][0]["data"] == {"worker_id": "wrk_a"}
    for event in page["data"]:
        EventRead.model_validate(event)
        assert event["created_at"].endswith("Z")
    last = page["data"][-1]["id"]
    assert api.client.get(f"/v1/jobs/{job_id}/events?after={last}").json()["data"] == []


@pytest.mark.parametrize("what", ["events", "metrics", "logs"])
def test_a_history_is_read_page_by_page(api: ServiceUnderTest, dataset_id: str, what: str) -> None:
    job_id, other = add_job(api.database, dataset_id), add_job(api.database, dataset_id)
    with api.database.write() as session:
        for number in range(25):
            for job in (job_id, other):
                transitions.record_event(session, job, 1, "note", {"n": number})
                point = {
                    "phase": "student",
                    "kind": "step",
                    "step": number,
                    "epoch": 1,
                    "figures": {"loss": 0.5},
                }
                session.execute(insert(JobMetric).values(job_id=job, **point))
                line = {"attempt": 1, "source": "trainer", "line": f"line {number}\t\x1b[31m<b>"}
                session.execute(insert(JobLog).values(job_id=job, **line))
    model = {"events": EventRead, "metrics": MetricRead, "logs": LogRead}[what]
    seen: list[int] = []
    after: str | None = None
    pages = 0
    while True:
        query = "limit=10" + (f"&after={after}" if after else "")
        page = api.client.get(f"/v1/jobs/{job_id}/{what}?{query}").json()
        for row in page["data"]:
            model.model_validate(row)
        seen += [row["id"] for row in page["data"]]
        pages += 1
        assert page["has_more"] == (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        after = page["next_cursor"]
    assert pages == 3
    assert len(seen) == 25
    assert seen == sorted(set(seen))
    everything = api.client.get(f"/v1/jobs/{job_id}/{what}?limit=25").json()
    assert not everything["has_more"]
    assert [row["id"] for row in everything["data"]] == seen


def test_curves_are_filtered(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job(api.database, dataset_id)
    points = [("teacher", "step"), ("teacher", "epoch"), ("student", "step")]
    with api.database.write() as session:
        for phase, kind in points:
            values = {"phase": phase, "kind": kind, "step": 1, "epoch": 1, "figures": {}}
            session.execute(insert(JobMetric).values(job_id=job_id, **values))

    def found(query: str) -> list[tuple[str, str]]:
        data = api.client.get(f"/v1/jobs/{job_id}/metrics?{query}").json()["data"]
        return [(point["phase"], point["kind"]) for point in data]

    assert found("") == points
    assert found("phase=teacher") == points[:2]
    assert found("kind=step") == [points[0], points[2]]
    assert found("phase=student&kind=epoch") == []


REFUSED = [
    ("limit=0", "out_of_range"),
    ("limit=1001", "out_of_range"),
    ("after=-1", "out_of_range"),
    ("after=9223372036854775808", "out_of_range"),
    ("after=abc", "out_of_range"),
    ("cursor=x", "unknown_filter"),
    ("source=worker", "unknown_filter"),
]


def test_queries_that_are_refused(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job(api.database, dataset_id)
    for what in ("events", "metrics", "logs"):
        for query, code in REFUSED:
            answer = api.client.get(f"/v1/jobs/{job_id}/{what}?{query}")
            assert (answer.status_code, answer.json()["code"]) == (422, code), (what, query)
        largest = api.client.get(f"/v1/jobs/{job_id}/{what}?after=9223372036854775807&limit=1000")
        assert largest.json()["data"] == []
    answer = api.client.get(f"/v1/jobs/{job_id}/metrics?phase=a%00")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_characters")


def test_events_come_in_two_types(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job(api.database, dataset_id)
    path = f"/v1/jobs/{job_id}/events"
    for accepted in ("application/json", "*/*", "application/*", "image/png, */*;q=0.1"):
        answer = api.client.get(path, headers={"Accept": accepted})
        assert answer.headers["content-type"] == "application/json"
    for refused in ("image/png", "application/json;q=0", "text/html"):
        answer = api.client.get(path, headers={"Accept": refused})
        assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


def test_events_are_never_changed_by_reading(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job_in(api.database, dataset_id, JobState.FAILED)
    first = api.client.get(f"/v1/jobs/{job_id}/events").content
    assert api.client.get(f"/v1/jobs/{job_id}/events").content == first
