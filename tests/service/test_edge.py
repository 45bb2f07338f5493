"""What holds for every request: whom it is addressed to, what it may cost, what every answer carries."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Depends
from pydantic import BaseModel
from service_fixtures import RunningService, ServiceUnderTest, make_app, read_until_closed, running_service
from sqlalchemy import text

from service import edge, server
from service.auth import Ctx, Reader, Writer
from service.json_body import json_body

CANARY = "fdkd_canary-canary-canary-canary-canary-canary-12"

probe = APIRouter(prefix="/v1/probe")


class Anything(BaseModel):
    value: int = 0


@probe.get("")
def look(caller: Reader) -> dict[str, str]:
    return {"owner": caller.owner_id}


@probe.post("")
def change(caller: Writer, body: Annotated[Anything, Depends(json_body(Anything))]) -> dict[str, int]:
    return {"value": body.value}


@probe.get("/bug")
def stumble(caller: Reader) -> None:
    raise RuntimeError(f"a secret of the service: {CANARY}")


@probe.get("/wrong-sql")
def ask_nonsense(context: Ctx, caller: Reader) -> None:
    with context.database.read() as session:
        session.execute(text("SELECT nothing FROM nowhere"))


@probe.get("/full-disk/{number}")
def find_the_disk_full(number: int, caller: Reader) -> None:
    raise OSError(number, os.strerror(number))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("running")
    with running_service(f"sqlite:///{folder}/db", folder, routers=[probe]) as service:
        yield service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceUnderTest]:
    folder = tmp_path_factory.mktemp("service")
    with make_app(f"sqlite:///{folder}/db", folder, routers=[probe]) as service:
        yield service


def ask(
    running: RunningService, target: str = "/v1/probe", *lines: str, host: str | None = "localhost"
) -> bytes:
    head = [f"GET {target} HTTP/1.1", *([f"Host: {host}"] if host is not None else [])]
    head += [f"Authorization: Bearer {running.key}", *lines, "", ""]
    return running.send_raw("\r\n".join(head).encode("latin-1"))


def check(answer: bytes, status: int, code: str) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert b"content-type: application/problem+json" in head.lower()
    problem: dict[str, Any] = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    assert f"x-request-id: {problem['request_id']}".encode() in head.lower()
    return problem


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000"]
)
def test_our_own_hosts_are_served(running: RunningService, host: str) -> None:
    assert ask(running, host=host).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8000", "localhost.evil.example", "localhost.", "evil@localhost",
        "127.0.0.2", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost:8000:1",
        "localhost, evil.example", "", " ", "localhost/evil", "0.0.0.0",
    ],
)  # fmt: skip
def test_foreign_hosts_are_refused(running: RunningService, host: str) -> None:
    """A web page that gives its own name our address reaches nothing."""
    check(ask(running, host=host), 400, "invalid_host")
    check(ask(running, "/livez", host=host), 400, "invalid_host")


def test_one_host_it_must_be(running: RunningService) -> None:
    assert ask(running, "/v1/probe", host=None).startswith(b"HTTP/1.1 400")
    check(ask(running, "/v1/probe", "Host: localhost"), 400, "invalid_host")


@pytest.mark.parametrize(
    "target", ["http://evil.example/v1/probe", "http://localhost/v1/probe", "//evil.example/v1/probe", "*"]
)
def test_a_target_names_no_host(running: RunningService, target: str) -> None:
    assert ask(running, target).split(b" ", 2)[1] in (b"400", b"404")
    if target.startswith("http"):
        check(ask(running, target), 400, "invalid_host")


def test_what_headers_claim_of_proxies_changes_nothing(running: RunningService) -> None:
    spoofed = ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https",
               "Forwarded: for=1.2.3.4;host=evil.example")  # fmt: skip
    assert ask(running, "/v1/probe", *spoofed).startswith(b"HTTP/1.1 200")
    check(ask(running, "/v1/probe", "X-Forwarded-Host: localhost", host="evil.example"), 400, "invalid_host")


def test_all_hosts_can_be_allowed(tmp_path: Path) -> None:
    with make_app(f"sqlite:///{tmp_path}/db", tmp_path, allowed_hosts=["*"]) as service:
        assert service.client.get("/livez", headers={"Host": "anything.example"}).status_code == 200


def test_long_urls_and_headers_are_refused(running: RunningService) -> None:
    check(ask(running, "/" + "a" * (16 << 10)), 414, "uri_too_long")
    check(ask(running, "/v1/probe?" + "a" * (16 << 10)), 414, "uri_too_long")
    check(ask(running, "/v1/probe", "X-Long: " + "a" * (64 << 10)), 431, "headers_too_large")
    check(ask(running, "/v1/probe", *(f"X-{i}: a" for i in range(200))), 431, "headers_too_large")
    assert ask(running, "/v1/probe?a=" + "a" * 4000, "X-Long: " + "a" * 4000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 2", "Transfer-Encoding: chunked", "", "2", "{}", "0", ""),
        ("Content-Length: 2", "Content-Length: 3", "", "{}"),
        ("Transfer-Encoding: chunked", "", "zz", "{}", "0", ""),
        ("Content-Length: -1", ""),
        ("Content-Length: 1e3", ""),
        (" folded: x", ""),
        ("No colon", ""),
    ],
)
def test_ambiguous_framing_is_refused_and_the_connection_closed(
    running: RunningService, lines: tuple[str, ...]
) -> None:
    head = ("POST /v1/probe HTTP/1.1", "Host: localhost", f"Authorization: Bearer {running.key}",
            "Content-Type: application/json")  # fmt: skip
    answer = running.send_raw("\r\n".join([*head, *lines, "", ""]).encode())
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"connection: close" in answer.lower()


def test_paths_mean_one_thing_and_nothing_is_redirected(running: RunningService) -> None:
    for target in (
        "/v1/nothing", "/", "/v1", "//v1/probe", "/v1//probe", "/v1/probe/", "/livez/",
        "/v1/jobs/%2e%2e/keys", "/v1/./probe", "/v1/x/../probe", "/V1/probe", "/v1/probe%00", "/v1%2fprobe/x",
        "/docs", "/redoc", "/openapi.json", "/v1/probe;x",
    ):  # fmt: skip
        answer = ask(running, target)
        assert check(answer, 404, "not_found")["instance"] == target
        assert b"location:" not in answer.lower()


def test_a_wrong_method_is_told_the_right_ones(service: ServiceUnderTest) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        response = service.client.request(method, "/v1/probe")
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
        # Both routes of this address, not only the first.
        assert response.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    "accept", ["image/png", "text/html", "application/json;q=0", "application/xml, text/*"]
)
def test_an_answer_that_cannot_be_taken_is_not_made(service: ServiceUnderTest, accept: str) -> None:
    response = service.client.post("/v1/probe", json={}, headers={"Accept": accept})
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json",
        "application/*;q=0.1",
        "text/html, application/json;q=0.9",
        "APPLICATION/*",
        "",
    ],
)
def test_json_is_accepted_in_all_its_forms(service: ServiceUnderTest, accept: str) -> None:
    assert service.client.post("/v1/probe", json={}, headers={"Accept": accept}).status_code == 200


def test_every_answer_says_how_it_may_be_used(service: ServiceUnderTest) -> None:
    for path, key in (("/livez", True), ("/v1/probe", True), ("/v1/probe", False), ("/nothing", True)):
        response = service.client.get(path, headers={} if key else {"Authorization": ""})
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "server" not in response.headers
        assert "access-control-allow-origin" not in response.headers


def test_a_sane_request_id_is_taken_over(service: ServiceUnderTest) -> None:
    given = service.client.get("/v1/nothing", headers={"X-Request-Id": "run-7.a_B"})
    assert given.headers["x-request-id"] == given.json()["request_id"] == "run-7.a_B"
    made = set()
    for bad in ("", "a b", "x" * 65, "a\tb", "<script>", "é"):
        response = service.client.get("/v1/nothing", headers={"X-Request-Id": bad.encode()})
        made.add(response.headers["x-request-id"])
        assert response.json()["request_id"] == response.headers["x-request-id"] != bad
    assert len(made) == 6


def test_a_bug_tells_nothing(running: RunningService, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/v1/probe/bug", "/v1/probe/wrong-sql"):
        problem = check(ask(running, path), 500, "internal")
        assert CANARY not in json.dumps(problem)
        assert "nowhere" not in json.dumps(problem)
    assert CANARY in caplog.text, "the log has it, with its traceback"
    assert ask(running).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.EIO])
def test_a_full_disk_is_no_bug(service: ServiceUnderTest, number: int) -> None:
    response = service.client.get(f"/v1/probe/full-disk/{number}")
    assert (response.status_code, response.json()["code"]) == (503, "storage_full")
    assert response.headers["retry-after"]
    is_told = os.strerror(number) in response.json()["detail"]
    assert is_told == (number != errno.ENOSPC), "that a disk is full is in the title"


def test_the_log_has_a_line_per_request_and_no_query(
    service: ServiceUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    response = service.client.get(f"/v1/probe?key={CANARY}&limit=1")
    lines = [record.getMessage() for record in caplog.records if record.name == "fdkd.access"]
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert (line["method"], line["path"], line["status"]) == ("GET", "/v1/probe", 200)
    assert line["request_id"] == response.headers["x-request-id"]
    assert line["key_id"].startswith("key_")
    assert line["ms"] > 0
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    assert CANARY not in "".join(ours)
    assert service.key not in caplog.text


def test_a_log_line_cannot_be_forged(service: ServiceUnderTest, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fdkd.access")
    service.client.get("/v1/x%0a%1b%5b2J")
    line = next(record.getMessage() for record in caplog.records if record.name == "fdkd.access")
    assert line.isprintable()


def test_a_refused_body_ends_the_connection(running: RunningService) -> None:
    """Otherwise the server would go on reading what nobody wants."""
    head = b"POST /v1/probe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
    answer = running.send_raw(head + b"x" * 100_000)
    check(answer, 401, "unauthenticated")
    assert b"connection: close" in answer.lower()


def test_a_head_that_does_not_end_is_cut_off(
    running: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT_S", 0.5)
    for start in (b"", b"GET /livez HTTP/1.1\r\nHost: local"):
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
            connection.sendall(start)
            started = time.monotonic()
            assert connection.recv(100) == b""
            assert 0.3 < time.monotonic() - started < 5


def test_a_second_head_on_a_connection_gets_its_time_too(
    running: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT_S", 0.5)
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_until_closed(connection).startswith(b"HTTP/1.1 200")
        time.sleep(0.7)  # idle between requests is another matter
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        assert connection.recv(100) == b""


def test_a_body_that_stops_coming_is_given_up(
    running: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "BODY_IDLE_S", 0.5)
    head = ("POST /v1/probe HTTP/1.1", "Host: localhost", f"Authorization: Bearer {running.key}",
            "Content-Type: application/json", "Content-Length: 10", "", '{"val')  # fmt: skip
    check(running.send_raw("\r\n".join(head).encode()), 408, "request_timeout")


def test_web_sockets_are_not_spoken(running: RunningService) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip
    assert not ask(running, "/v1/probe", *upgrade).startswith(b"HTTP/1.1 101")


def test_clients_that_leave_are_no_errors(running: RunningService, caplog: pytest.LogCaptureFixture) -> None:
    head = ("POST /v1/probe HTTP/1.1", "Host: localhost", f"Authorization: Bearer {running.key}",
            "Content-Type: application/json", "Content-Length: 10", "", '{"val')  # fmt: skip
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        connection.sendall("\r\n".join(head).encode())
        time.sleep(0.2)
    time.sleep(0.3)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_keep_alive_serves_many_requests(running: RunningService) -> None:
    with httpx2.Client(base_url=running.url, headers=running.headers) as client:
        for _ in range(20):
            assert client.get("/v1/probe").status_code == 200
            assert client.post("/v1/probe", json={"value": 1}).json() == {"value": 1}
