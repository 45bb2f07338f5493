"""JSON that pydantic and `json` would let pass, bend or turn into a 500 is refused, by a code of its own."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx2
import pytest
from fastapi import APIRouter, Depends
from pydantic import Field
from service_fixtures import RunningService, ServiceUnderTest, make_app, running_service

from fdkd_core.spec.strict import Name, StrictModel
from service.auth import Writer
from service.json_body import MAX_PROBLEMS, json_body, json_request

LIMIT = 64 << 10


class Recipe(StrictModel):
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 20
    lr: float = 0.1
    kind: Literal["sgd", "adamw"] = "sgd"
    sizes: tuple[int, ...] = ()


class Order(StrictModel):
    name: Name
    training: Recipe = Recipe()
    free: dict[str, Any] = Field(default_factory=dict)


probe = APIRouter(prefix="/v1/probe")


@probe.post("", openapi_extra=json_request(Order))
def take(caller: Writer, order: Annotated[Order, Depends(json_body(Order))]) -> dict[str, Any]:
    return order.model_dump(mode="json")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceUnderTest]:
    folder = tmp_path_factory.mktemp("service")
    with make_app(f"sqlite:///{folder}/db", folder, routers=[probe], max_json_bytes=LIMIT) as service:
        yield service


def post(
    service: ServiceUnderTest, content: str | bytes, content_type: str = "application/json"
) -> httpx2.Response:
    return service.client.post("/v1/probe", content=content, headers={"Content-Type": content_type})


def check(response: httpx2.Response, status: int, code: str, pointer: str | None = None) -> dict[str, Any]:
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["code"]) == (status, code), problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:fdkd:error:{code}"
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    assert len(response.content) <= 16 << 10
    if pointer is not None:
        assert [found["pointer"] for found in problem["errors"]] == [pointer]
    return problem


def test_good_bodies_pass(service: ServiceUnderTest) -> None:
    body = '{"name": "Zoë \\ud83d\\ude00", "training": {"epochs": 3, "lr": 1e-3, "sizes": [1, 2]}}'
    response = post(service, body)
    assert response.status_code == 200
    assert response.json()["name"] == "Zoë 😀"
    assert response.json()["training"] == {"epochs": 3, "lr": 0.001, "kind": "sgd", "sizes": [1, 2]}
    assert post(service, '{"name": "x"}', "Application/JSON; charset=UTF-8").status_code == 200


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_are_finite(service: ServiceUnderTest, number: str) -> None:
    check(
        post(service, f'{{"name": "x", "training": {{"lr": {number}}}}}'), 422, "not_finite", "/training/lr"
    )
    check(post(service, f'{{"name": "x", "free": {{"a": [0, {number}]}}}}'), 422, "not_finite", "/free/a/1")


@pytest.mark.parametrize("text", [r"\ud800", r"a\udfff", r"\ude00\ud83d"])
def test_half_surrogates_are_refused_wherever_they_are(service: ServiceUnderTest, text: str) -> None:
    check(post(service, f'{{"name": "{text}"}}'), 422, "invalid_unicode", "/name")
    check(post(service, f'{{"name": "x", "free": {{"a": "{text}"}}}}'), 422, "invalid_unicode", "/free/a")
    check(post(service, f'{{"name": "x", "free": {{"{text}": 1}}}}'), 422, "invalid_unicode")


@pytest.mark.parametrize(
    "text",
    [r"\u0000", r"\u0007", r"\n", r"\u007f", r"\u0085", r"\u202e", r"\u2066", r"\u200b", r"\ufeff"],
)
def test_names_hold_no_invisible_characters(service: ServiceUnderTest, text: str) -> None:
    check(post(service, f'{{"name": "a{text}b"}}'), 422, "invalid_characters", "/name")


def test_nul_is_refused_everywhere(service: ServiceUnderTest) -> None:
    """PostgreSQL takes it neither as text nor in JSON."""
    check(post(service, '{"name": "x", "free": {"a": "\\u0000"}}'), 422, "invalid_characters", "/free/a")
    check(post(service, '{"name": "x", "free": {"\\u0000": 1}}'), 422, "invalid_characters")


@pytest.mark.parametrize("key", ["is_admin", "owner_id", "state", "attempt", "x" * 5000, "a/b~c", "ключ"])
def test_unknown_keys_are_refused(service: ServiceUnderTest, key: str) -> None:
    problem = check(post(service, json.dumps({"name": "x", key: True})), 422, "unknown_field")
    assert len(problem["errors"][0]["pointer"]) <= 200
    check(post(service, json.dumps({"name": "x", "training": {key: 1}})), 422, "unknown_field")


def test_pointers_are_escaped(service: ServiceUnderTest) -> None:
    check(post(service, '{"name": "x", "a/b~c": 1}'), 422, "unknown_field", "/a~1b~0c")


def test_duplicate_keys_are_refused_at_any_depth(service: ServiceUnderTest) -> None:
    check(post(service, '{"name": "x", "name": "y"}'), 400, "duplicate_key")
    check(post(service, '{"name": "x", "free": {"a": [{"b": 1, "b": 1}]}}'), 400, "duplicate_key")
    check(post(service, '{"name": "x", "n\\u0061me": "y"}'), 400, "duplicate_key")


@pytest.mark.parametrize("value", ['"7"', "true", "7.5", "7.0", "null", "[7]", "{}"])
def test_types_are_not_bent(service: ServiceUnderTest, value: str) -> None:
    body = f'{{"name": "x", "training": {{"epochs": {value}}}}}'
    check(post(service, body), 422, "wrong_type", "/training/epochs")


@pytest.mark.parametrize("depth", [33, 65, 2000, 100_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_nesting_is_bounded(service: ServiceUnderTest, depth: int, brackets: tuple[str, str]) -> None:
    opened, closed = brackets
    nested = opened * (depth - 2) + "1" + closed * (depth - 2)
    if len(nested) < LIMIT:
        check(post(service, f'{{"name": "x", "free": {{"a": {nested}}}}}'), 400, "too_deep")
    # Never closed: how far the parser gets before it gives up is its own business.
    assert post(service, (opened * depth)[: LIMIT - 1]).json()["code"] in ("invalid_json", "too_deep")


def test_nesting_up_to_the_bound_passes(service: ServiceUnderTest) -> None:
    nested = "[" * 30 + "1" + "]" * 30
    assert post(service, f'{{"name": "x", "free": {{"a": {nested}}}}}').status_code == 200


@pytest.mark.parametrize(
    "value", ["9" * 5000, "-" + "9" * 5000, str(2**63), str(-(2**64)), "-1", "0", "10001"]
)
def test_integers_have_bounds(service: ServiceUnderTest, value: str) -> None:
    body = f'{{"name": "x", "training": {{"epochs": {value}}}}}'
    check(post(service, body), 422, "out_of_range", "/training/epochs")


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "\xff"}', b'{"name": "\xed\xa0\x80"}', b'{"name": "\xc0\xaf"}',
        '{"name": "x"}'.encode("utf-16"), '{"name": "x"}'.encode("utf-16-le"),
        '{"name": "x"}'.encode("utf-32"), b'\xef\xbb\xbf{"name": "x"}', b'{"name": "x"} x',
        b'{"name": "x"}{}', b"", b"   ", b"{", b'{"name": "x",}',
        b"{'name': 'x'}", b"name: x", b'{"name": "a\nb"}', b'{"name": 01}', b"\x00", b"// {}",
    ],
)  # fmt: skip
def test_what_is_not_json_in_utf_8_is_refused(service: ServiceUnderTest, body: bytes) -> None:
    problem = check(post(service, body), 400, "invalid_json")
    assert problem["errors"] == []


@pytest.mark.parametrize("body", ["null", "[]", '[{"name": "x"}]', '"text"', "7", "true"])
def test_the_body_is_an_object(service: ServiceUnderTest, body: str) -> None:
    check(post(service, body), 422, "missing_body")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
        "application/json; charset=utf-16", "application/json, text/plain", "application/problem+json",
        "text/json", "json",
    ],
)  # fmt: skip
def test_only_json_is_read(service: ServiceUnderTest, content_type: str) -> None:
    check(post(service, '{"name": "x"}', content_type), 415, "unsupported_media_type")


def test_a_missing_content_type_or_an_encoding_is_refused(service: ServiceUnderTest) -> None:
    check(service.client.post("/v1/probe", content=b'{"name": "x"}'), 415, "unsupported_media_type")
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    response = service.client.post("/v1/probe", content=b'{"name": "x"}', headers=headers)
    check(response, 415, "unsupported_media_type")


def test_every_problem_is_named_at_once(service: ServiceUnderTest) -> None:
    body = {"nam": "x", "training": {"epochs": 0, "lr": "a", "kind": "lion"}}
    problem = check(post(service, json.dumps(body)), 422, "invalid_request")
    assert {(found["pointer"], found["code"]) for found in problem["errors"]} == {
        ("/name", "missing_field"), ("/nam", "unknown_field"), ("/training/epochs", "out_of_range"),
        ("/training/lr", "wrong_type"), ("/training/kind", "not_allowed"),
    }  # fmt: skip


def test_many_problems_fit_in_16_kib(service: ServiceUnderTest) -> None:
    for body in (
        {"name": "x", **{f"{'k' * 30}{i}": 1 for i in range(1500)}},
        {"name": "x", "free": {f"{'k' * 30}{i}": "\0" for i in range(1000)}},
    ):
        response = post(service, json.dumps(body))
        assert response.status_code == 422
        assert len(response.content) <= 16 << 10
        assert 10 < len(response.json()["errors"]) <= MAX_PROBLEMS


@pytest.mark.parametrize(
    "body",
    [
        {"name": "S" * 5000},
        {"name": 7, "training": "S" * 5000},
        {"name": "x", "training": {"kind": "S" * 5000}},
        {"name": "x", "S" * 5000: {"S" * 5000: "S" * 5000}},
        {"name": "x", "free": {"S" * 5000: {"S" * 5000: {"S" * 5000: "\ud800"}}}},
    ],
)
def test_little_of_the_input_is_echoed(service: ServiceUnderTest, body: Any) -> None:
    response = post(service, json.dumps(body))
    assert response.status_code == 422
    assert "S" * 201 not in response.text
    for found in response.json()["errors"]:
        assert len(found["detail"]) <= 600


def test_a_bad_body_without_a_key_is_not_looked_at(service: ServiceUnderTest) -> None:
    headers = {"Authorization": "", "Content-Type": "text/plain"}
    response = service.client.post("/v1/probe", content="{", headers=headers)
    check(response, 401, "unauthenticated")


def test_large_strings_are_checked_quickly(tmp_path: Path) -> None:
    with make_app(f"sqlite:///{tmp_path}/db", tmp_path, routers=[probe]) as service:
        for body in ('{"name": "' + "é" * 500_000 + '"}', '{"free": [' + "1," * 300_000 + "1]}"):
            started = time.process_time()
            assert post(service, body.encode()).status_code in (413, 422)
            assert time.process_time() - started < 5


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("running")
    with running_service(f"sqlite:///{folder}/db", folder, routers=[probe], max_json_bytes=LIMIT) as service:
        yield service


def head_of(running: RunningService, *lines: str) -> bytes:
    return "\r\n".join(
        [
            "POST /v1/probe HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {running.key}",
            "Content-Type: application/json",
            *lines,
            "",
            "",
        ]
    ).encode()


def test_an_announced_size_is_refused_before_any_of_it_is_read(running: RunningService) -> None:
    answer = running.send_raw(head_of(running, f"Content-Length: {LIMIT + 1}"))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code": "too_large"' in answer
    assert b"connection: close" in answer


def test_an_unannounced_size_is_refused_as_soon_as_it_is_known(running: RunningService) -> None:
    """Sent in chunks without end: the answer comes, and the connection is closed, while it is being sent."""
    chunk = b"%x\r\n%s\r\n" % (1 << 14, b" " * (1 << 14))
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(head_of(running, "Transfer-Encoding: chunked"))
        sent = 0
        try:
            while sent < 1 << 28:
                connection.sendall(chunk)
                sent += len(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 413")
    assert sent < 64 << 20, "it went on reading"


def test_a_body_of_just_the_limit_is_read(running: RunningService) -> None:
    body = b'{"name": "x"}'.ljust(LIMIT)
    assert running.send_raw(head_of(running, f"Content-Length: {LIMIT}") + body).startswith(b"HTTP/1.1 200")


def test_the_connection_lives_on_after_a_bad_body(running: RunningService) -> None:
    with httpx2.Client(base_url=running.url, headers=running.headers) as client:
        for _ in range(3):
            assert (
                client.post(
                    "/v1/probe", content=b"{", headers={"Content-Type": "application/json"}
                ).status_code
                == 400
            )
            assert client.post("/v1/probe", json={"name": "x"}).status_code == 200
            large = client.post("/v1/probe", json={"name": "x" * (2 * LIMIT)})
            assert (large.status_code, large.json()["code"]) == (413, "too_large")
