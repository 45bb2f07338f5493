"""Waits end with what the server says of the job, and with nothing else."""

from __future__ import annotations

import json
import time

import pytest
from cutting_proxy import CuttingProxy
from scripted_server import Answer, ScriptedServer, problem

import fdkd_client
from fdkd_client import Client, Job

JOB = {"id": "job_1", "kind": "distill", "name": "n", "state": "running"}
DONE = {**JOB, "state": "succeeded"}
PATH = "/v1/jobs/job_1"
EVENTS = f"{PATH}/events"


def event(number: int, kind: str = "job.claimed") -> bytes:
    content = {"id": number, "type": kind, "attempt": 1, "data": {}, "created_at": "2026-01-01T00:00:00Z"}
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(content)}\n\n".encode()


PROGRESS = b'event: progress\ndata: {"phase": "student", "step": 3}\n\n'
PAUSE = b"retry: 1000\n\n"
"""What the server's streams begin with; no event."""
END = b"event: end\ndata: {}\n\n"
SSE = {"Content-Type": "text/event-stream"}


def stream(*chunks: bytes, is_cut: bool = False) -> Answer:
    return Answer(200, headers=SSE, chunks=chunks, is_cut=is_cut)


def test_each_change_is_told_once(scripted: ScriptedServer, client: Client) -> None:
    states = [{**JOB, "state": "queued"}, JOB, JOB, {**JOB, "attempt": 1}, DONE]
    scripted.on("GET", PATH, *(Answer(200, state) for state in states))
    seen: list[Job] = []
    assert client.jobs.wait("job_1", on_update=seen.append).state == "succeeded"
    assert [(job.state, job.attempt) for job in seen] == [
        ("queued", 0),
        ("running", 0),
        ("running", 1),
        ("succeeded", 0),
    ]


def test_an_unchanged_job_is_not_sent_again(scripted: ScriptedServer, client: Client) -> None:
    tag = {"ETag": '"1"'}
    scripted.on("GET", PATH, Answer(200, JOB, tag), Answer(304, headers=tag), Answer(200, DONE))
    assert client.jobs.wait("job_1").state == "succeeded"
    assert [request.headers.get("if-none-match") for request in scripted.requests] == [None, '"1"', '"1"']


def test_the_time_is_over(scripted: ScriptedServer, client: Client) -> None:
    scripted.on("GET", PATH, Answer(200, JOB))
    started = time.monotonic()
    with pytest.raises(fdkd_client.WaitTimeoutError, match="still running") as caught:
        client.jobs.wait("job_1", timeout_s=0.7)
    assert caught.value.state == "running"
    assert 0.7 <= time.monotonic() - started < 3


def test_no_time_is_one_look(scripted: ScriptedServer, client: Client) -> None:
    scripted.on("GET", PATH, Answer(200, JOB))
    with pytest.raises(fdkd_client.WaitTimeoutError):
        client.jobs.wait("job_1", timeout_s=0)
    assert len(scripted.requests) == 1
    scripted.on("GET", PATH, Answer(200, DONE))
    assert client.jobs.wait("job_1", timeout_s=0).state == "succeeded"


def test_a_server_that_does_not_answer_does_not_stretch_the_wait(scripted: ScriptedServer) -> None:
    scripted.on("GET", PATH, Answer(200, JOB))
    with CuttingProxy(scripted.port) as proxy, Client(f"http://127.0.0.1:{proxy.port}", "k") as client:

        def hold(job: Job) -> None:
            proxy.hold()

        started = time.monotonic()
        with pytest.raises(fdkd_client.WaitTimeoutError):
            client.jobs.wait("job_1", timeout_s=2, on_update=hold)
        assert time.monotonic() - started < 6
        assert proxy.fired >= 1


def test_a_server_may_go_and_come_back(scripted: ScriptedServer) -> None:
    scripted.on(
        "GET", PATH, Answer(200, JOB), problem(502, "x"), problem(503, "unavailable"), Answer(200, DONE)
    )
    with CuttingProxy(scripted.port) as proxy, Client(f"http://127.0.0.1:{proxy.port}", "k") as client:

        def go_away(job: Job) -> None:
            proxy.refuse(3)
            proxy.cut_all()

        assert client.jobs.wait("job_1", on_update=go_away).state == "succeeded"
        assert proxy.fired >= 3


def test_patience_ends(scripted: ScriptedServer, client: Client) -> None:
    scripted.on("GET", PATH, Answer(200, JOB), problem(503, "unavailable"))
    with pytest.raises(fdkd_client.ServerError):
        client.jobs.wait("job_1", patience_s=1)


@pytest.mark.parametrize("answer", [problem(401, "unauthenticated"), problem(404, "not_found")])
def test_what_waiting_cannot_mend_is_told_at_once(
    scripted: ScriptedServer, client: Client, answer: Answer
) -> None:
    scripted.on("GET", PATH, Answer(200, JOB), answer)
    with pytest.raises(fdkd_client.APIError):
        client.jobs.wait("job_1")
    assert len(scripted.requests) == 2


def test_nobody_there_from_the_start() -> None:
    with Client("http://127.0.0.1:1", "k") as client, pytest.raises(fdkd_client.ServerUnreachableError):
        client.jobs.wait("job_1")


def test_a_dataset_is_waited_for(scripted: ScriptedServer, client: Client) -> None:
    dataset = {"id": "ds_1", "name": "d", "state": "validating"}
    error = {
        "code": "invalid_dataset",
        "message": "bad",
        "problems": [{"code": "x", "detail": "y", "row": 2}],
    }
    scripted.on(
        "GET",
        "/v1/datasets/ds_1",
        Answer(200, dataset),
        Answer(200, {**dataset, "state": "invalid", "error": error}),
    )
    found = client.datasets.wait("ds_1")
    assert found.error is not None
    assert found.error.problems[0].row == 2


def test_events_come_once_and_in_order(scripted: ScriptedServer, client: Client) -> None:
    scripted.on("GET", EVENTS, stream(PAUSE, event(1), PROGRESS, event(4, "job.succeeded"), END))
    scripted.on("GET", PATH, Answer(200, DONE))
    found = list(client.jobs.events("job_1"))
    assert [(one.id, one.type) for one in found] == [
        (1, "job.claimed"),
        (None, "progress"),
        (4, "job.succeeded"),
    ]
    assert found[1].data == {"phase": "student", "step": 3}


@pytest.mark.parametrize("is_cut", [False, True], ids=["closed", "cut"])
def test_a_stream_that_ends_early_is_taken_up_again(
    scripted: ScriptedServer, client: Client, is_cut: bool
) -> None:
    """Whether it was closed politely or broke off: neither is the end of the job."""
    scripted.on(
        "GET",
        EVENTS,
        stream(event(1), event(2), b"id: 3\ndata: {", is_cut=is_cut),
        problem(503, "unavailable"),
        stream(event(2), event(3), is_cut=is_cut),
        stream(event(4, "job.failed"), END),
    )
    scripted.on("GET", PATH, Answer(200, {**JOB, "state": "failed"}))
    assert [one.id for one in client.jobs.events("job_1")] == [1, 2, 3, 4]
    asked = [r.headers.get("last-event-id") for r in scripted.requests if r.path == EVENTS]
    assert asked == [None, "2", "2", "3"]


def test_the_end_is_what_the_job_says_not_the_stream(scripted: ScriptedServer, client: Client) -> None:
    scripted.on("GET", EVENTS, stream(event(1), END), stream(event(2), END))
    scripted.on("GET", PATH, Answer(200, JOB), Answer(200, DONE))
    assert [one.id for one in client.jobs.events("job_1")] == [1, 2]
    assert scripted.count("GET", PATH) == 2


def test_events_after_one_that_is_known(scripted: ScriptedServer, client: Client) -> None:
    scripted.on("GET", EVENTS, stream(event(7), event(8), END))
    scripted.on("GET", PATH, Answer(200, DONE))
    assert [one.id for one in client.jobs.events("job_1", after=7)] == [8]
    assert scripted.requests[0].headers["last-event-id"] == "7"


def test_events_of_nothing(scripted: ScriptedServer, client: Client) -> None:
    with pytest.raises(fdkd_client.NotFoundError):
        next(client.jobs.events("job_1"))
    scripted.on("GET", EVENTS, Answer(200, {"data": []}))
    with pytest.raises(fdkd_client.UnexpectedAnswerError):
        next(client.jobs.events("job_1"))


def test_an_absence_is_told_once_and_its_end(
    scripted: ScriptedServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment is not worth a word; what lasts is told with its reason, and that it is over."""
    monkeypatch.setattr("fdkd_client.waiting.TOLD_AFTER_S", 0.2)
    away = [problem(503, "unavailable")] * 3
    scripted.on("GET", PATH, Answer(200, JOB), away[0], Answer(200, JOB), *away, Answer(200, DONE))
    told: list[str | None] = []
    client.jobs.wait("job_1", on_away=lambda error: told.append(error and type(error).__name__))
    assert told == ["ServerError", None]
    told.clear()
    scripted.on("GET", EVENTS, stream(event(1)), away[0], stream(event(2)), *away, stream(event(3), END))
    list(client.jobs.events("job_1", on_away=lambda error: told.append(error and type(error).__name__)))
    assert told == ["ServerError", None]
