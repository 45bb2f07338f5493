"""Nobody gets in without a key that is active, and no key does more than it may."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import APIRouter
from service_fixtures import (
    RunningService,
    ServiceUnderTest,
    authorization,
    make_app,
    make_key,
    running_service,
)
from sqlalchemy import func, select, update

from service import auth, openapi
from service.auth import PUBLIC_PATHS, KeyRing, Reader, Writer, create_key, hash_key
from service.db import db_now
from service.scopes import LOCAL_OWNER
from service.tables import ApiKey

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

probe = APIRouter(prefix="/v1/probe")


@probe.get("")
def look(caller: Reader) -> dict[str, str]:
    return {"owner": caller.owner_id}


@probe.post("")
def change(caller: Writer) -> dict[str, str]:
    return {"owner": caller.owner_id}


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[ServiceUnderTest]:
    with make_app(database_url, tmp_path, routers=[probe]) as service:
        yield service


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("running")
    with running_service(f"sqlite:///{folder}/db", folder, routers=[probe]) as service:
        yield service


def test_every_route_and_method_needs_a_key(service: ServiceUnderTest) -> None:
    walked = 0
    templates = {path for path, _, _ in openapi.operations(service.app)} | {"/v1/nothing", "/docs", "/"}
    for template in templates:
        path = "/".join("x" if part.startswith("{") else part for part in template.split("/"))
        for method in METHODS:
            for headers in ({"Authorization": ""}, authorization("fdkd_" + "A" * 43)):
                response = service.client.request(method, path, headers=headers)
                if path in PUBLIC_PATHS:
                    assert response.status_code == (200 if method in ("GET", "HEAD") else 405)
                    continue
                assert response.status_code == 401, (method, path)
                assert response.headers["www-authenticate"].startswith("Bearer")
                walked += 1
    assert walked > 100
    assert templates >= PUBLIC_PATHS == {"/livez", "/readyz"}


def test_every_route_says_what_scope_it_needs(service: ServiceUnderTest) -> None:
    for path, method, route in openapi.operations(service.app):
        wanted = None if path in PUBLIC_PATHS else ["read"] if method in ("GET", "HEAD") else ["write"]
        assert openapi.required_scopes(route) == wanted, (method, path)


def test_a_key_without_the_scope_is_told_so_before_anything_else(service: ServiceUnderTest) -> None:
    clients = {scope: service.other_client(scope, owner_id=LOCAL_OWNER) for scope in ("read", "write")}
    refused = 0
    for path, method, route in openapi.operations(service.app):
        scopes = openapi.required_scopes(route)
        if not scopes:
            continue
        other = clients["write" if scopes == ["read"] else "read"]
        address = "/".join("x" if part.startswith("{") else part for part in path.split("/"))
        response = other.request(method, address)
        assert response.status_code == 403, (method, path, response.text)
        assert method == "HEAD" or response.json()["code"] == "missing_scope"
        refused += 1
    assert refused > 5
    assert clients["read"].get("/v1/probe").status_code == 200
    assert clients["write"].post("/v1/probe").status_code == 200


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Authorization:",),
        ("Authorization: Bearer",),
        ("Authorization: Bearer ",),
        ("Authorization: {key}",),
        ("Authorization: Basic {key}",),
        ("Authorization: Basic dXNlcjpwYXNz",),
        ("Authorization: Token {key}",),
        ("Authorization: Bearer {key}", "Authorization: Bearer {key}"),
        ("Authorization: Bearer {key}", "Authorization: Basic x"),
        ("Authorization: Bearer {key}, Bearer {key}",),
        ("Authorization: Bearer  {key}",),
        ("Authorization: Bearer {key} ",),
        ("Authorization: Bearer {key}\t",),
        ("Authorization: Bearer {key}x",),
        ("Authorization: Bearer \xff\xfe",),
        ("X-Api-Key: {key}",),
        ("Cookie: authorization=Bearer {key}",),
        ("Proxy-Authorization: Bearer {key}",),
    ],
)
def test_a_key_comes_in_one_form(running: RunningService, lines: tuple[str, ...]) -> None:
    head = ["GET /v1/probe HTTP/1.1", "Host: localhost", *(line.format(key=running.key) for line in lines)]
    answer = running.send_raw("\r\n".join([*head, "", ""]).encode("latin-1"))
    assert answer.startswith(b"HTTP/1.1 401"), answer
    assert b'"code": "unauthenticated"' in answer
    assert b"\r\nwww-authenticate: Bearer" in answer
    assert running.key.encode() not in answer


def test_the_scheme_is_read_in_any_case(running: RunningService) -> None:
    for scheme in (b"Bearer", b"bearer", b"BEARER"):
        head = b"GET /v1/probe HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s %s\r\n\r\n"
        assert running.send_raw(head % (scheme, running.key.encode())).startswith(b"HTTP/1.1 200")


def other_keys(service: ServiceUnderTest) -> dict[str, str]:
    """Keys that are no use, by what is wrong with them."""
    with service.database.write() as session:
        revoked = create_key(session, owner_id=LOCAL_OWNER, name="r", scopes=["read", "write"])
        expired = create_key(
            session, owner_id=LOCAL_OWNER, name="e", scopes=["read"], expires_in=timedelta(seconds=-1)
        )
        session.flush()
        session.execute(update(ApiKey).where(ApiKey.sha256 == hash_key(revoked)).values(revoked_at=db_now()))
    key = service.key
    return {
        "unknown": "fdkd_" + "A" * 43,
        "revoked": revoked,
        "expired": expired,
        "truncated": key[:-1],
        "lengthened": key + "A",
        "other case": key.swapcase(),
        "hash": hash_key(key),
        "like": "fdkd_%",
        "long": "fdkd_" + "A" * 8000,
    }


def test_all_bad_keys_get_the_same_answer(service: ServiceUnderTest) -> None:
    answers = set()
    for wrong in other_keys(service).values():
        response = service.client.get("/v1/probe", headers=authorization(wrong) | {"X-Request-Id": "same"})
        assert response.status_code == 401
        answers.add((response.text, str(sorted(response.headers.items()))))
    assert len(answers) == 1


def test_all_bad_keys_take_the_same_time(tmp_path: Path) -> None:
    """Medians of the check itself, taken in turn: who measures from outside sees less."""
    with make_app(f"sqlite:///{tmp_path}/db", tmp_path, routers=[probe]) as service:
        wrong = {name: hash_key(key) for name, key in other_keys(service).items()}
        taken: dict[str, list[float]] = {name: [] for name in ("unknown", "revoked", "expired", "truncated")}
        for number in range(1200):
            for name, times in taken.items():
                started = time.perf_counter()
                assert auth.find_caller(service.database, wrong[name]) is None
                if number >= 200:
                    times.append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    assert max(medians.values()) < 1.15 * min(medians.values()), medians


def test_a_key_in_the_address_opens_nothing_and_is_not_logged(
    running: RunningService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("key", "api_key", "access_token", "token", "authorization"):
        head = f"GET /v1/probe?{name}={running.key} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = running.send_raw(head.encode())
        assert answer.startswith(b"HTTP/1.1 401")
        assert running.key.encode() not in answer
    deadline = time.monotonic() + 5
    while len([record for record in caplog.records if record.name == "fdkd.access"]) < 5:
        assert time.monotonic() < deadline  # a line comes just after its answer
    assert running.key not in caplog.text


def test_the_owner_is_that_of_the_key(service: ServiceUnderTest) -> None:
    assert service.client.get("/v1/probe").json() == {"owner": LOCAL_OWNER}
    other = service.other_client("read")
    assert other.get("/v1/probe").json()["owner"] not in (LOCAL_OWNER, None)


def test_a_good_key_is_remembered_for_seconds_only(
    service: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REMEMBERED_S", 1.0)
    assert service.client.get("/v1/probe").status_code == 200
    with service.database.write() as session:
        session.execute(update(ApiKey).values(revoked_at=db_now()))
    assert service.client.get("/v1/probe").status_code == 200, "it is not looked up each time"
    time.sleep(1.1)
    assert service.client.get("/v1/probe").status_code == 401


def test_a_remembered_key_costs_no_query(service: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = []
    find = auth.find_caller

    def count(database: object, digest: str) -> object:
        lookups.append(digest)
        return find(database, digest)  # type: ignore[arg-type]

    monkeypatch.setattr(auth, "find_caller", count)
    service.app.state.keys = KeyRing(service.database)
    for _ in range(5):
        assert service.client.get("/v1/probe").status_code == 200
    assert len(lookups) == 1
    for _ in range(5):
        assert service.client.get("/v1/probe", headers=authorization("x")).status_code == 401
    assert len(lookups) == 6, "guesses are never remembered"


def test_the_memory_of_keys_is_bounded(service: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_MAX_REMEMBERED", 3)
    ring = service.app.state.keys
    for _ in range(10):
        key = make_key(service.database)
        assert service.client.get("/v1/probe", headers=authorization(key)).status_code == 200
        assert len(ring._remembered) <= 3


def test_only_hashes_are_kept(service: ServiceUnderTest) -> None:
    with service.database.read() as session:
        rows = session.execute(select(ApiKey.__table__)).all()
        assert session.scalar(select(func.count()).select_from(ApiKey)) == 1
    assert service.key not in repr(rows)
    assert hash_key(service.key) in repr(rows)
    assert len(service.key) == 48
