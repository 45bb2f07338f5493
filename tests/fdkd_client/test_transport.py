"""What is sent again and what is not; every kind of answer becomes the right exception."""

from __future__ import annotations

import pickle
import time

import pytest
from cutting_proxy import CuttingProxy
from scripted_server import Answer, ScriptedServer, problem

import fdkd_client
from fdkd_client import Client, errors
from fdkd_client.errors import RejectedError

JOB = {"id": "job_1", "kind": "distill", "name": "n", "state": "queued"}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "malformed_request", "RejectedError"),
        (401, "unauthenticated", "AuthenticationError"),
        (403, "quota_exceeded", "ForbiddenError"),
        (404, "not_found", "NotFoundError"),
        (409, "name_taken", "ConflictError"),
        (410, "expired", "NotFoundError"),
        (412, "precondition_failed", "ConflictError"),
        (413, "too_large", "RejectedError"),
        (415, "unsafe_format", "RejectedError"),
        (422, "invalid_request", "RejectedError"),
        (500, "internal", "ServerError"),
    ],
)
def test_each_status_has_its_exception(
    scripted: ScriptedServer, client: Client, status: int, code: str, kind: str
) -> None:
    errors = [
        {"pointer": "/spec/name", "detail": "is long", "code": "too_long"},
        {"detail": "bad", "row": 3},
        "?",
    ]
    scripted.on("GET", "/v1/jobs/job_1", problem(status, code, request_id="r1", errors=errors, extra=7))
    with pytest.raises(fdkd_client.APIError) as caught:
        client.jobs.get("job_1")
    error = caught.value
    assert type(error).__name__ == kind
    assert (error.status, error.code, error.request_id, error.extensions) == (
        status,
        code,
        "r1",
        {"extra": 7},
    )
    assert [(p.pointer, p.row, p.detail) for p in error.problems] == [
        ("/spec/name", None, "is long"),
        (None, 3, "bad"),
    ]
    assert len(scripted.requests) == 1
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize(
    "error",
    [
        errors.WaitTimeoutError("too long", "running"),
        errors.NoServerError(),
        errors.LocalFileError("x is there already"),
        errors.APIError(409, "name_taken", "taken"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_being_handed_to_another_process(error: errors.FDKDClientError) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert (str(found), vars(found)) == (str(error), vars(error))


def test_the_code_of_an_error_stands_once_in_its_text() -> None:
    assert str(errors.ConflictError(409, "name_taken", "is taken")) == "is taken [name_taken]"
    assert str(errors.RejectedError(422, "not_allowed", "/x: no [not_allowed]")) == "/x: no [not_allowed]"


def test_a_closed_client_says_that_it_is(scripted: ScriptedServer) -> None:
    with Client(scripted.url, "fdkd_x") as client:
        pass
    for ask in (client.usage, lambda: next(client.jobs.events("job_1"))):
        with pytest.raises(errors.FDKDClientError, match="has been closed"):
            ask()
    assert scripted.requests == []


@pytest.mark.parametrize("body", [b"<html>502</html>", b"", b"[1]", b"\xff\xfe", b'{"errors": 1, "code": 5}'])
def test_errors_that_others_wrote_are_errors_too(
    scripted: ScriptedServer, client: Client, body: bytes
) -> None:
    scripted.on("GET", "/v1/jobs/job_1", Answer(502, body))
    with pytest.raises(fdkd_client.ServerError) as caught:
        client.jobs.get("job_1")
    assert caught.value.status == 502


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"null", {"id": "job_1"}, {**JOB, "attempt": "many"}])
def test_a_success_that_is_none(scripted: ScriptedServer, client: Client, body: object) -> None:
    scripted.on("GET", "/v1/jobs/job_1", Answer(200, body))
    with pytest.raises(fdkd_client.UnexpectedAnswerError):
        client.jobs.get("job_1")


def test_unknown_fields_and_states_are_kept(scripted: ScriptedServer, client: Client) -> None:
    scripted.on("GET", "/v1/jobs/job_1", Answer(200, {**JOB, "state": "pausing", "priority": 3}))
    job = client.jobs.get("job_1")
    assert job.state == "pausing"
    assert not job.is_terminal
    assert job.model_dump()["priority"] == 3


def test_a_redirect_is_not_followed_with_the_key(scripted: ScriptedServer, client: Client) -> None:
    with ScriptedServer() as other:
        scripted.on("GET", "/v1/jobs/job_1", Answer(307, headers={"Location": f"{other.url}/v1/jobs/job_1"}))
        with pytest.raises(fdkd_client.APIError) as caught:
            client.jobs.get("job_1")
        assert caught.value.status == 307
        assert other.requests == []


def test_the_key_and_who_asks_are_sent(scripted: ScriptedServer, client: Client) -> None:
    scripted.on("GET", "/v1/version", Answer(200, {"version": "1", "api": "v1"}))
    client.version()
    headers = scripted.requests[0].headers
    assert headers["authorization"] == "Bearer fdkd_key"
    assert headers["user-agent"].startswith("fdkd-client/")


@pytest.mark.parametrize("key", ["schlüssel", "two words", "line\nbreak"])
def test_a_key_that_cannot_be_one(scripted: ScriptedServer, key: str) -> None:
    with pytest.raises(fdkd_client.ConfigurationError):
        Client(scripted.url, key)


def test_a_mistyped_id_stays_an_id(scripted: ScriptedServer, client: Client) -> None:
    for job_id in ("../keys", "..", "", "a/b?c#d", "ä ö"):
        with pytest.raises(fdkd_client.NotFoundError):
            client.jobs.get(job_id)
    assert [request.path for request in scripted.requests] == [
        "/v1/jobs/..%2Fkeys",
        "/v1/jobs/~..",
        "/v1/jobs/~",
        "/v1/jobs/a%2Fb%3Fc%23d",
        "/v1/jobs/%C3%A4%20%C3%B6",
    ]


@pytest.mark.parametrize("status", [429, 503])
def test_told_to_come_back_it_comes_back_when_told(
    scripted: ScriptedServer, client: Client, status: int
) -> None:
    busy = problem(status, "unavailable")
    busy.headers["Retry-After"] = "1"
    scripted.on("GET", "/v1/jobs/job_1", busy, Answer(200, JOB))
    started = time.monotonic()
    assert client.jobs.get("job_1").id == "job_1"
    assert time.monotonic() - started >= 1


def test_a_date_to_come_back_at(scripted: ScriptedServer, client: Client) -> None:
    busy = problem(503, "unavailable")
    busy.headers["Retry-After"] = "Wed, 21 Oct 2015 07:28:00 GMT"
    scripted.on("GET", "/v1/jobs/job_1", busy, Answer(200, JOB))
    assert client.jobs.get("job_1").id == "job_1"


def test_told_to_come_back_much_later_it_says_so(scripted: ScriptedServer, client: Client) -> None:
    busy = problem(429, "queue_full")
    busy.headers["Retry-After"] = "3600"
    scripted.on("GET", "/v1/jobs/job_1", busy, Answer(200, JOB))
    with pytest.raises(fdkd_client.BusyError):
        client.jobs.get("job_1")
    assert len(scripted.requests) == 1


def test_it_gives_up_in_the_end(scripted: ScriptedServer, client: Client) -> None:
    scripted.on("GET", "/v1/jobs/job_1", problem(503, "unavailable"))
    with pytest.raises(fdkd_client.ServerError):
        client.jobs.get("job_1")
    assert len(scripted.requests) == 5


def test_an_internal_error_is_not_asked_again(scripted: ScriptedServer, client: Client) -> None:
    scripted.on("GET", "/v1/jobs/job_1", problem(500, "internal"), Answer(200, JOB))
    with pytest.raises(fdkd_client.ServerError):
        client.jobs.get("job_1")
    assert len(scripted.requests) == 1


def test_a_lost_answer_is_asked_for_again_with_the_same_key(scripted: ScriptedServer) -> None:
    scripted.on("POST", "/v1/jobs", Answer(201, JOB))
    with CuttingProxy(scripted.port) as proxy, Client(f"http://127.0.0.1:{proxy.port}", "k") as client:
        proxy.drop_replies(2)
        assert client.jobs.create({"kind": "distill"}).id == "job_1"
        assert proxy.fired == 2
    keys = [request.headers["idempotency-key"] for request in scripted.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1


@pytest.mark.parametrize("key", ["", "schl\u00fcssel", "two\nlines"])
def test_a_key_that_is_none_is_not_exchanged_for_a_random_one(
    scripted: ScriptedServer, client: Client, key: str
) -> None:
    with pytest.raises(RejectedError, match="idempotency key"):
        client.jobs.create({}, idempotency_key=key)
    with pytest.raises(RejectedError, match="idempotency key"):
        client.jobs.retry("job_1", idempotency_key=key)
    assert scripted.requests == []


def test_while_the_first_try_is_still_served_the_second_waits(
    scripted: ScriptedServer, client: Client
) -> None:
    scripted.on("POST", "/v1/jobs", problem(409, "idempotency_in_progress"), Answer(201, JOB))
    assert client.jobs.create({"kind": "distill"}, idempotency_key="mine").id == "job_1"
    assert [request.headers["idempotency-key"] for request in scripted.requests] == ["mine", "mine"]


def test_what_may_not_be_repeated_is_not(scripted: ScriptedServer) -> None:
    with CuttingProxy(scripted.port) as proxy, Client(f"http://127.0.0.1:{proxy.port}", "k") as client:
        proxy.drop_replies(1)
        with pytest.raises(fdkd_client.ServerUnreachableError):
            client._transport.request("POST", "things", body={})
        assert proxy.fired == 1
    assert len(scripted.requests) == 1


def test_a_deletion_whose_answer_got_lost_has_happened(scripted: ScriptedServer) -> None:
    scripted.on("DELETE", "/v1/datasets/ds_1", Answer(204), problem(404, "not_found"))
    with CuttingProxy(scripted.port) as proxy, Client(f"http://127.0.0.1:{proxy.port}", "k") as client:
        proxy.drop_replies(1)
        client.datasets.delete("ds_1")
        assert proxy.fired == 1
        with pytest.raises(fdkd_client.NotFoundError):
            client.datasets.delete("ds_1")


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:1", "k") as client:
        started = time.monotonic()
        with pytest.raises(fdkd_client.ServerUnreachableError, match="cannot be reached"):
            client.version()
        assert time.monotonic() - started < 10


def test_lists_are_read_page_by_page(scripted: ScriptedServer, client: Client) -> None:
    first = {"data": [{**JOB, "id": f"job_{n}"} for n in range(100)], "has_more": True, "next_cursor": "c1"}
    second = {"data": [{**JOB, "id": "job_100"}], "has_more": False, "next_cursor": None}
    scripted.on("GET", "/v1/jobs", Answer(200, first), Answer(200, second))
    found = client.jobs.list(state="queued")
    next(found)
    assert len(scripted.requests) == 1
    assert len(list(found)) == 100
    assert [request.query for request in scripted.requests] == [
        "state=queued&limit=100",
        "state=queued&limit=100&cursor=c1",
    ]


def test_a_list_with_a_limit_asks_for_no_more(scripted: ScriptedServer, client: Client) -> None:
    page = {"data": [JOB] * 2, "has_more": True, "next_cursor": "c"}
    scripted.on("GET", "/v1/jobs", Answer(200, page))
    assert len(list(client.jobs.list(limit=2))) == 2
    assert [request.query for request in scripted.requests] == ["limit=2"]


def test_history_is_read_to_its_end(scripted: ScriptedServer, client: Client) -> None:
    scripted.on(
        "GET",
        "/v1/jobs/job_1/logs",
        Answer(200, {"data": [{"id": 1, "line": "a"}, {"id": 5, "line": "b"}], "has_more": True}),
        Answer(200, {"data": [{"id": 9, "line": "c"}], "has_more": False}),
    )
    assert [line.line for line in client.jobs.logs("job_1")] == ["a", "b", "c"]
    assert [request.query for request in scripted.requests] == ["limit=1000", "after=5&limit=1000"]


def test_everything_public_can_be_had() -> None:
    for name in fdkd_client.__all__:
        assert getattr(fdkd_client, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = fdkd_client.nothing  # type: ignore[attr-defined]


def test_every_field_of_a_result_has_its_place() -> None:
    """What the core reports is what the client shows; unknown fields would still be kept."""
    from fdkd_client import figures
    from fdkd_core.spec import result, uplift
    from fdkd_core.spec.figures import ClassificationMetrics

    pairs = (
        (figures.RunFigures, result.RunResult), (figures.ModelFigures, result.ModelResult),
        (figures.SplitFigures, ClassificationMetrics), (figures.GainFigures, uplift.FigureGain),
        (figures.TaughtFigures, result.TaughtRows), (figures.StudyFigures, result.StudyResult),
        (figures.TrialFigures, result.Trial), (figures.FinalRunFigures, result.FinalRun),
        (figures.ComparisonFigures, result.CompareResult), (figures.ArmFigures, result.Arm),
        (figures.EstimateFigures, result.Estimate), (figures.DiagnosisFigures, result.DiagnosisResult),
    )  # fmt: skip
    for ours, theirs in pairs:
        assert set(theirs.model_fields) - {"schema_version"} == set(ours.model_fields)
    gains = {*uplift.Uplift.model_fields, *uplift.TaskUplift.model_fields}
    assert gains == set(figures.UpliftFigures.model_fields)
