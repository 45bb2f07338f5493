"""Events as they happen, through a real server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from job_records import add_dataset, add_job, add_job_in
from service_fixtures import RunningService, authorization, make_key, running_service

from service import stream_slots
from service.identifiers import new_id
from service.jobs import stream, transitions
from service.jobs.states import JobEventType, JobState
from service.scopes import LOCAL_OWNER
from service.stream_slots import MAX_OWNER_STREAMS, MAX_STREAMS


@dataclass
class Told:
    """One message of a stream."""

    event: str = ""
    id: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[RunningService]:
    with running_service(database_url, tmp_path) as service:
        yield service


@pytest.fixture
def sqlite_server(tmp_path: Path) -> Iterator[RunningService]:
    """For what has nothing to do with the database."""
    with running_service(f"sqlite:///{tmp_path / 'test.db'}", tmp_path) as service:
        yield service


@contextmanager
def connect(
    server: RunningService, job_id: str, query: str = "", **headers: str
) -> Iterator[httpx2.Response]:
    client = httpx2.Client(base_url=server.url, headers=server.headers, timeout=30, trust_env=False)
    accept = {"Accept": "text/event-stream"}
    with (
        client,
        client.stream("GET", f"/v1/jobs/{job_id}/events{query}", headers=accept | headers) as response,
    ):
        yield response


def messages(response: httpx2.Response) -> Iterator[Told]:
    message = Told()
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            message.event = value
        elif name == "id":
            message.id = int(value)
        elif name == "data":
            message.data = json.loads(value)
        elif not line and message.event:
            yield message
            message = Told()


def test_a_job_is_followed_from_its_claim_to_its_end(server: RunningService) -> None:
    job_id = add_job(server.database, add_dataset(server.database))
    with connect(server, job_id) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        told = messages(response)
        with server.database.write() as session:
            transitions.claim(session, "wrk_a", 30, job_id)
        claimed = next(told)
        assert (claimed.event, claimed.data["type"], claimed.data["attempt"]) == (
            "job.claimed",
            "job.claimed",
            1,
        )
        assert claimed.id == claimed.data["id"]
        for step in (1, 2):
            progress = {"phase": "teacher", "step": step}
            with server.database.write() as session:
                transitions.hold(session, job_id, 1, progress=progress)
            passing = next(told)
            assert (passing.event, passing.id, passing.data) == ("progress", None, progress)
        with server.database.write() as session:
            transitions.apply(session, job_id, JobEventType.SUCCEEDED, attempt=1)
        succeeded = next(told)
        assert succeeded.event == "job.succeeded"
        assert succeeded.id is not None
        assert succeeded.id > claimed.id  # type: ignore[operator]
        end = next(told)
        assert (end.event, end.id, end.data) == ("end", None, {"state": "succeeded"})
        assert next(told, None) is None
    listed = httpx2.get(f"{server.url}/v1/jobs/{job_id}/events", headers=server.headers).json()["data"]
    assert listed == [claimed.data, succeeded.data]


def test_a_stream_goes_on_behind_the_last_event_that_was_seen(sqlite_server: RunningService) -> None:
    server = sqlite_server
    job_id = add_job(server.database, add_dataset(server.database))
    for attempt in (1, 2):
        with server.database.write() as session:
            transitions.claim(session, "wrk_a", 30, job_id)
            transitions.apply(session, job_id, JobEventType.LOST, attempt=attempt)
    with connect(server, job_id) as response:
        told = messages(response)
        ids = [next(told).id for _ in range(4)]
    assert ids == sorted(ids)  # type: ignore[type-var]
    for query, headers, expected in (
        (f"?after={ids[1]}", {}, ids[2]),
        ("", {"Last-Event-ID": str(ids[2])}, ids[3]),
        (f"?after={ids[0]}", {"Last-Event-ID": str(ids[2])}, ids[3]),
        (f"?after={ids[2]}", {"Last-Event-ID": str(ids[0])}, ids[3]),
    ):
        with connect(server, job_id, query, **headers) as response:
            assert next(messages(response)).id == expected


def test_after_the_end_a_browser_is_told_to_stop(sqlite_server: RunningService) -> None:
    server = sqlite_server
    job_id = add_job_in(server.database, add_dataset(server.database), JobState.FAILED)
    with connect(server, job_id) as response:
        told = list(messages(response))
    assert [message.event for message in told] == ["job.claimed", "job.failed", "end"]
    assert told[-1].data == {"state": "failed"}
    with connect(server, job_id, **{"Last-Event-ID": str(told[1].id)}) as response:
        assert (response.status_code, response.read()) == (204, b"")
    with connect(server, job_id, **{"Last-Event-ID": str(told[0].id)}) as response:
        assert [message.event for message in messages(response)] == ["job.failed", "end"]


def test_histories_longer_than_a_page_are_told_whole(sqlite_server: RunningService) -> None:
    server = sqlite_server
    job_id = add_job(server.database, add_dataset(server.database))
    count = 3 * 200 + 5
    with server.database.write() as session:
        for number in range(count):
            transitions.record_event(
                session, job_id, 0, "note", {"n": number, "text": "a\nb\r\n\x85\u2028\u2029"}
            )
        transitions.apply(session, job_id, JobEventType.CANCELLED)
    begin = time.monotonic()
    with connect(server, job_id) as response:
        told = list(messages(response))
    assert [message.data["data"]["n"] for message in told[:-2]] == list(range(count))
    assert told[0].data["data"]["text"] == "a\nb\r\n\x85\u2028\u2029"
    assert [message.event for message in told[-2:]] == ["job.cancelled", "end"]
    assert time.monotonic() - begin < 4 * stream.POLL_S + 5


@pytest.mark.parametrize("text", ["abc", "-1", "1.5", "9" * 30, "٣"])
def test_ids_of_no_event(sqlite_server: RunningService, text: str) -> None:
    job_id = add_job(sqlite_server.database, add_dataset(sqlite_server.database))
    answer = httpx2.get(
        f"{sqlite_server.url}/v1/jobs/{job_id}/events",
        headers=[
            *sqlite_server.headers.items(),
            ("Accept", "text/event-stream"),
            (b"Last-Event-ID", text.encode()),
        ],
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "out_of_range")


def test_streams_of_others(sqlite_server: RunningService) -> None:
    server = sqlite_server
    job_id = add_job(server.database, add_dataset(server.database), owner_id=new_id("own"))
    for path in (job_id, new_id("job"), "job_x"):
        with connect(server, path) as response:
            assert response.status_code == 404


def test_silence_is_broken_by_a_heartbeat(
    sqlite_server: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.5)
    job_id = add_job(sqlite_server.database, add_dataset(sqlite_server.database))
    with connect(sqlite_server, job_id) as response:
        lines = response.iter_lines()
        assert next(lines) == "retry: 1000"
        assert next(line for line in lines if line).startswith(":")


def test_streams_end_when_the_server_stops(tmp_path: Path) -> None:
    with running_service(f"sqlite:///{tmp_path / 'test.db'}", tmp_path) as server:
        job_id = add_job(server.database, add_dataset(server.database))
        with connect(server, job_id) as response:
            lines = response.iter_lines()
            assert next(lines) == "retry: 1000"
            begin = time.monotonic()
            server.app.state.context.stopping.set()
            assert "end" not in "".join(lines)
            assert time.monotonic() - begin < 1


def test_a_stream_ends_after_its_longest_time(
    sqlite_server: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LONGEST_S", 0.3)
    job_id = add_job(sqlite_server.database, add_dataset(sqlite_server.database))
    with connect(sqlite_server, job_id) as response:
        assert [message.event for message in messages(response)] == []


def has_place(server: RunningService, job_id: str) -> bool:
    """Whether a new stream is told something, now or when those that were closed have been noticed."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with connect(server, job_id) as response:
            if response.status_code == 200:
                return True
        time.sleep(0.05)
    return False


def test_an_owner_has_only_so_many_streams_and_others_have_theirs(sqlite_server: RunningService) -> None:
    server = sqlite_server
    for _ in range(MAX_OWNER_STREAMS - 2):
        server.app.state.context.stream_slots.take(LOCAL_OWNER)
    dataset_id, other_id = add_dataset(server.database), new_id("own")
    job_id = add_job(server.database, dataset_id)
    others = add_job(server.database, dataset_id, owner_id=other_id)
    other = authorization(make_key(server.database, other_id))
    with connect(server, job_id) as first, connect(server, job_id) as second:
        assert (first.status_code, second.status_code) == (200, 200)
        with connect(server, job_id) as third:
            assert third.status_code == 429
            assert third.headers["content-type"] == "application/problem+json"
            assert int(third.headers["retry-after"]) > 0
            problem = json.loads(third.read())
            assert problem["code"] == "too_many_streams"
            assert f"{MAX_OWNER_STREAMS} event streams of yours" in problem["detail"]
        with connect(server, others, **other) as of_another:
            assert of_another.status_code == 200
        ok = httpx2.get(f"{server.url}/v1/jobs/{job_id}", headers=server.headers)
        assert ok.status_code == 200
    assert has_place(server, job_id)


def test_all_owners_together_have_only_so_many_streams(sqlite_server: RunningService) -> None:
    server = sqlite_server
    slots = server.app.state.context.stream_slots
    for number in range(MAX_STREAMS - 1):
        slots.take(f"own_{number}")
    job_id = add_job(server.database, add_dataset(server.database))
    with connect(server, job_id) as last:
        assert last.status_code == 200
        with connect(server, job_id) as refused:
            assert refused.status_code == 429
            assert f"{MAX_STREAMS} event streams of all owners" in json.loads(refused.read())["detail"]
    assert has_place(server, job_id)


def test_waiting_streams_hold_no_connection_to_the_database(
    sqlite_server: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More streams than the pool has connections, and everything else goes on."""
    monkeypatch.setattr(stream_slots, "MAX_OWNER_STREAMS", 30)
    server = sqlite_server
    pool = server.database.engine.pool
    job_id = add_job(server.database, add_dataset(server.database))
    opened = threading.Barrier(31)
    done = threading.Event()
    heard: list[str] = []

    def listen() -> None:
        with connect(server, job_id) as response:
            told = messages(response)
            opened.wait(20)
            heard.append(next(told).event)
            done.wait(20)

    threads = [threading.Thread(target=listen) for _ in range(30)]
    for thread in threads:
        thread.start()
    opened.wait(20)
    out = [pool.checkedout() for _ in range(50) if not time.sleep(0.02)]  # type: ignore[attr-defined, func-returns-value]
    assert min(out) == 0
    assert httpx2.get(f"{server.url}/v1/jobs", headers=server.headers).status_code == 200
    with server.database.write() as session:
        transitions.claim(session, "wrk_a", 30, job_id)
    deadline = time.monotonic() + 10
    while len(heard) < 30 and time.monotonic() < deadline:
        time.sleep(0.05)
    done.set()
    for thread in threads:
        thread.join()
    assert heard == ["job.claimed"] * 30


def test_a_stream_outlives_a_database_that_is_away(server: RunningService) -> None:
    if server.database.is_sqlite:
        pytest.skip("a file is never away")
    job_id = add_job(server.database, add_dataset(server.database))
    with connect(server, job_id) as response:
        told = messages(response)
        lost = 0
        for _ in range(3):
            time.sleep(0.6)
            with server.database.read() as session:
                rows = session.connection().exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                lost += len(rows.all())
                time.sleep(0.6)
        assert lost >= 1
        with server.database.write() as session:
            transitions.claim(session, "wrk_a", 30, job_id)
        assert next(told).event == "job.claimed"


def test_a_key_without_the_scope_hears_nothing(sqlite_server: RunningService) -> None:
    server = sqlite_server
    job_id = add_job(server.database, add_dataset(server.database))
    headers = authorization(make_key(server.database, new_id("own"), "write"))
    answer = httpx2.get(
        f"{server.url}/v1/jobs/{job_id}/events", headers={**headers, "Accept": "text/event-stream"}
    )
    assert answer.status_code == 403
