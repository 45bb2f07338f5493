"""Forms as strangers send them: each refused with its code, and nothing of them is kept."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from file_requests import (
    BOUNDARY,
    FORM,
    check_refusal,
    dataset_form,
    form,
    names_of,
    nothing_lost,
    part,
    zip_bytes,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from service_fixtures import RunningService, ServiceUnderTest, make_app, running_service
from starlette.requests import Request

from service.bodies import SizeLimits
from service.errors import InvalidMultipartError, QuotaExceededError, TooLargeError
from service.multipart_form import MAX_AROUND_BYTES, MAX_FIELD_BYTES, ReceivedForm, receive_form

CONTENT = zip_bytes()
NAME = part("name", b"digits")
FILE = part("file", CONTENT, "data.zip")
MAX_DATASET, ROOM = 200_000, 300_000
DATASETS = "/v1/datasets"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServiceUnderTest]:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    limits = {"max_dataset_bytes": MAX_DATASET, "max_stored_bytes": ROOM}
    with make_app(url, tmp_path / "data", **limits) as service:
        yield service


def post(served: ServiceUnderTest, body: Any, content_type: str | None = None) -> Any:
    headers = FORM if content_type is None else {"Content-Type": content_type}
    return served.client.post(DATASETS, content=body, headers=headers)


def in_pieces(body: bytes, size: int = 1000) -> Iterator[bytes]:
    """Sent without a Content-Length."""
    return (body[i : i + size] for i in range(0, len(body), size))


BROKEN = {
    "no part at all": form(),
    "no file part": form(NAME),
    "a file field without a filename": form(NAME, part("file", CONTENT)),
    "two files": form(NAME, FILE, FILE),
    "two files under two names": form(NAME, part("file2", CONTENT, "a.zip"), FILE),
    "a file of another name": form(NAME, part("upload", CONTENT, "data.zip")),
    "a field behind the file": form(FILE, NAME),
    "a field twice": form(NAME, NAME, FILE),
    "a part without a name": form(b"--" + BOUNDARY.encode() + b"\r\n\r\nx\r\n", NAME, FILE),
    "another disposition": form(NAME, FILE).replace(b"form-data", b"attachment"),
    "1,001 parts": form(*(part(f"f{i}", b"x") for i in range(1000)), FILE),
    "1,001 empty files": form(*(part("file", b"", "a") for _ in range(1001))),
    "a huge header": form(part("name", b"digits", extra=b"X-Long: " + b"x" * 5000 + b"\r\n"), FILE),
    "a huge header name": form(part("name", b"digits", extra=b"x" * 100_000 + b": 1\r\n"), FILE),
    "many headers": form(part("name", b"digits", extra=b"X-A: 1\r\n" * 500), FILE),
    "a header without an end": NAME + b"--" + BOUNDARY.encode() + b"\r\nX: " + b"x" * 100_000,
    "a broken header": form(part("name", b"digits", extra=b"no colon\r\n"), FILE),
    "cut off before the last boundary": form(NAME, FILE)[:-5],
    "cut off within the file": form(NAME, FILE)[:-100],
    "ended by the boundary of a part": form(NAME, FILE)[:-6] + b"\r\n",
    "a preamble": b"preamble\r\n" + form(NAME, FILE),
    "another boundary": form(NAME, FILE).replace(BOUNDARY.encode(), b"other"),
    "empty": b"",
    "JSON": b'{"name": "digits"}',
    "base64": form(NAME, part("file", CONTENT, "a.zip", b"Content-Transfer-Encoding: base64\r\n")),
    "a name that is not UTF-8": form(part("name", b"\xff\xfe"), FILE),
    "a file name that is not UTF-8": form(NAME, FILE).replace(b"data.zip", b"\xff.zip"),
}


def test_broken_forms(served: ServiceUnderTest) -> None:
    for why, body in BROKEN.items():
        for sent in (body, in_pieces(body)):
            with nothing_lost(served.settings):
                answer = post(served, sent)
                assert answer.status_code == 400, (why, answer.text)
                check_refusal(answer, 400, "invalid_multipart")
    assert post(served, form(NAME, FILE)).status_code == 201


def test_a_preamble_of_ten_megabytes(served: ServiceUnderTest) -> None:
    body = b"\r\n" + b"x" * 10_000_000 + b"\r\n" + form(NAME, FILE)
    with nothing_lost(served.settings):
        check_refusal(post(served, body), 413, "too_large")
        check_refusal(post(served, in_pieces(body)), 413, "too_large")
    limits = SizeLimits(1000, 1000)
    with pytest.raises(InvalidMultipartError):
        asyncio.run(received([*in_pieces(body)], served.settings.uploads_dir / "x", limits, announce=False))
    assert names_of(served.settings.uploads_dir) == []


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        ("multipart/form-data", 400, "invalid_multipart"),
        ("multipart/form-data; boundary=", 400, "invalid_multipart"),
        ("multipart/form-data; boundary=" + "x" * 300, 400, "invalid_multipart"),
        ("multipart/form-data; boundary*=utf-8''x", 400, "invalid_multipart"),
        ("multipart/form-dataset; boundary=x", 415, "unsupported_media_type"),
        ("multipart/mixed; boundary=x", 415, "unsupported_media_type"),
        ("application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        ("application/zip", 415, "unsupported_media_type"),
        ("", 415, "unsupported_media_type"),
    ],
)
def test_content_types(served: ServiceUnderTest, content_type: str, status: int, code: str) -> None:
    with nothing_lost(served.settings):
        check_refusal(post(served, form(NAME, FILE), content_type), status, code)


def test_a_compressed_form(served: ServiceUnderTest) -> None:
    with nothing_lost(served.settings):
        answer = served.client.post(
            DATASETS, content=form(NAME, FILE), headers=FORM | {"Content-Encoding": "gzip"}
        )
        check_refusal(answer, 415, "unsupported_media_type")


def test_fields_are_checked_before_the_file(served: ServiceUnderTest) -> None:
    """The form is not even complete, which would be said otherwise."""
    wrong: list[tuple[bytes, str, str]] = [
        (part("name", b".."), "not_allowed", "/name"),
        (part("name", b""), "out_of_range", "/name"),
        (part("name", b"a\x00b"), "invalid_characters", "/name"),
        (part("name", "a\u202eb".encode()), "invalid_characters", "/name"),
        (part("name", b"x" * 10_240), "out_of_range", "/name"),
        (part("Name", b"digits") + NAME, "unknown_field", "/Name"),
        (NAME + part("owner_id", b"own_x"), "unknown_field", "/owner_id"),
        (NAME + part("state", b"ready"), "unknown_field", "/state"),
        (NAME + part("sha256", b"beef"), "invalid_characters", "/sha256"),
        (part("sha256", b"0" * 64), "missing_field", "/name"),
    ]
    for fields, code, pointer in wrong:
        with nothing_lost(served.settings):
            problem = check_refusal(post(served, fields + FILE[:-50]), 422, code)
        assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_what_arrives_is_not_what_was_announced(served: ServiceUnderTest) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    with nothing_lost(served.settings):
        body = form(NAME, part("sha256", b"0" * 64), FILE)
        check_refusal(post(served, body), 422, "checksum_mismatch")
    assert post(served, form(NAME, part("sha256", digest.upper().encode()), FILE)).status_code == 201


def test_a_form_may_have_an_epilogue(served: ServiceUnderTest) -> None:
    answer = post(served, form(NAME, FILE) + b"\r\nepilogue")
    assert answer.status_code == 201
    assert answer.json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def big_file(size: int) -> bytes:
    return CONTENT + bytes(size - len(CONTENT))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_over_the_limit_of_its_kind(served: ServiceUnderTest, chunked: bool) -> None:
    for size, status in ((MAX_DATASET + 1, 413), (MAX_DATASET + 5_000_000, 413)):
        body = dataset_form("digits", big_file(size))
        with nothing_lost(served.settings):
            check_refusal(post(served, in_pieces(body) if chunked else body), status, "too_large")
    body = dataset_form("digits", big_file(MAX_DATASET))
    assert post(served, in_pieces(body) if chunked else body).status_code == 201


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_over_the_quota_of_its_owner(served: ServiceUnderTest, chunked: bool) -> None:
    assert post(served, dataset_form("first", big_file(MAX_DATASET))).status_code == 201
    room = ROOM - MAX_DATASET
    body = dataset_form("digits", big_file(room + 1))
    with nothing_lost(served.settings):
        check_refusal(post(served, in_pieces(body) if chunked else body), 403, "quota_exceeded")
    assert post(served, dataset_form("digits", big_file(room))).status_code == 201
    with nothing_lost(served.settings):
        check_refusal(post(served, dataset_form("one more", CONTENT)), 403, "quota_exceeded")
    stranger = served.other_client()
    assert stranger.post(DATASETS, content=dataset_form("digits", CONTENT), headers=FORM).status_code == 201


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_field(served: ServiceUnderTest, chunked: bool) -> None:
    body = form(part("name", b"x" * (MAX_FIELD_BYTES + 1)), FILE)
    with nothing_lost(served.settings):
        check_refusal(post(served, in_pieces(body) if chunked else body), 413, "too_large")


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[RunningService]:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    limits = {"max_dataset_bytes": MAX_DATASET, "max_stored_bytes": ROOM // 2}
    with running_service(url, tmp_path / "data", **limits) as service:
        yield service


def raw_head(listening: RunningService, length: int | None) -> bytes:
    how = f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked"
    return (
        f"POST {DATASETS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {listening.key}\r\n"
        f"Content-Type: {FORM['Content-Type']}\r\n{how}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("length", "body", "status"),
    [
        (1 << 30, b"", b"413"),  # by its Content-Length, before a byte of it
        (1 << 62, b"", b"413"),
        (10**30, b"", b"400"),  # by the parser of HTTP
        (MAX_DATASET + 2000, NAME + FILE[:150], b"413"),  # when the file begins
        (ROOM // 2 + 2000, NAME + FILE[:150], b"403"),
        (1 << 30, part("name", b"x" * 100_000)[:70_000], b"413"),
        (MAX_DATASET, NAME[:-2] + b"x" * 70_000, b"413"),  # a field of no end
        (1 << 17, b"x", b"400"),
        (1 << 17, b"\r\n" + b"x" * 70_000, b"400"),  # no boundary in sight
    ],
)
def test_the_answer_comes_before_the_body(
    listening: RunningService, length: int, body: bytes, status: bytes
) -> None:
    """The rest is never sent: whoever waits for it would wait in vain."""
    with nothing_lost(listening.settings, within_s=5):
        answer = listening.send_raw(raw_head(listening, length) + body, timeout_s=10)
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:300]
    assert b"connection: close" in answer.lower()


def test_an_endless_chunked_file_is_stopped(listening: RunningService) -> None:
    """It is sent until the server has had enough; what it took is not on disk any more."""
    start = NAME + FILE[:-100]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in [start, *[bytes(60_000)] * 200])
    with nothing_lost(listening.settings, within_s=5):
        answer = listening.send_raw(raw_head(listening, None) + chunks)
    assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 413")), answer[:300]


def test_a_gigabyte_of_text_costs_no_memory(listening: RunningService) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in [NAME[:-2], *[b"x" * 60_000] * 50])
    with nothing_lost(listening.settings, within_s=5):
        answer = listening.send_raw(raw_head(listening, None) + chunks)
    assert answer.startswith(b"HTTP/1.1 413"), answer[:300]


def request_of(chunks: list[bytes], announce: bool) -> Request:
    waiting = list(chunks)

    async def receive() -> dict[str, Any]:
        body = waiting.pop(0) if waiting else b""
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    headers = [(b"content-type", FORM["Content-Type"].encode())]
    if announce:
        headers.append((b"content-length", str(sum(map(len, chunks))).encode()))
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


async def received(
    chunks: list[bytes], path: Path, limits: SizeLimits, announce: bool = True
) -> tuple[ReceivedForm, bytes]:
    accepted: list[dict[str, str]] = []
    async with receive_form(
        request_of(chunks, announce), path, limits, lambda fields, name: accepted.append(dict(fields))
    ) as found:
        assert accepted == [found.fields]
        return found, found.file.path.read_bytes()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(bounds)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(
    content=st.binary(max_size=200).map(lambda raw: raw.replace(BOUNDARY.encode(), b""))
    | st.lists(st.sampled_from([b"\r\n", b"--", b"-", b"\r", b"\n", BOUNDARY[:5].encode(), b"x"])).map(
        b"".join
    ),
    name=st.text(max_size=20),
    places=st.lists(st.integers(0, 10_000), max_size=12),
    announce=st.booleans(),
)
def test_however_it_is_cut_into_pieces(
    tmp_path: Path, content: bytes, name: str, places: list[int], announce: bool
) -> None:
    body = form(part("name", name.encode()), part("file", content, "data.zip"))
    limits = SizeLimits(max(len(content), 1), max(len(content), 1))
    found, on_disk = asyncio.run(received(cut(body, places), tmp_path / "x.body", limits, announce))
    assert found.fields == {"name": name}
    assert on_disk == content
    assert found.file.size_bytes == len(content)
    assert found.file.sha256 == hashlib.sha256(content).hexdigest()
    assert found.file.file_name == "data.zip"
    assert names_of(tmp_path) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(
    body=st.binary(max_size=300)
    | st.lists(
        st.sampled_from(
            [f"--{BOUNDARY}".encode(), b"--", b"\r\n", b"Content-Disposition: form-data; ", b'name="file"',
             b'; filename="a"', b"\r\n\r\n", b'name="name"', b"x", b":", b"\x00", b"\xff", b" "]
        ),
        max_size=30,
    ).map(b"".join),
    places=st.lists(st.integers(0, 10_000), max_size=5),
)  # fmt: skip
def test_garbage_is_refused_or_read_but_never_a_bug(tmp_path: Path, body: bytes, places: list[int]) -> None:
    with contextlib.suppress(InvalidMultipartError, TooLargeError):
        asyncio.run(received(cut(body, places), tmp_path / "x.body", SizeLimits(1000, 1000)))
    assert names_of(tmp_path) == []


def test_the_limit_of_the_whole_form(tmp_path: Path) -> None:
    """Behind the file there may be an epilogue, but not one without end."""

    chunks = [form(NAME, FILE), *[bytes(100_000)] * (2 * MAX_AROUND_BYTES // 100_000)]
    with pytest.raises(TooLargeError):
        asyncio.run(received(chunks, tmp_path / "x.body", SizeLimits(1000, 1000), announce=False))
    assert names_of(tmp_path) == []


def test_limits_are_told_apart() -> None:
    with pytest.raises(TooLargeError):
        SizeLimits(10, 5).check(11)
    with pytest.raises(QuotaExceededError):
        SizeLimits(10, 5).check(6)
    with pytest.raises(QuotaExceededError):
        SizeLimits(10, -5).check(1)
    SizeLimits(10, 5).check(5)
    SizeLimits(10, 0).check(-100)


def test_a_file_that_is_there_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "x.body").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        asyncio.run(received([form(NAME, FILE)], tmp_path / "x.body", SizeLimits(1000, 1000)))
    assert (tmp_path / "x.body").read_bytes() == b"mine"


def test_an_unfinished_form_is_no_form(tmp_path: Path) -> None:
    with pytest.raises(InvalidMultipartError):
        asyncio.run(received([form(NAME, FILE)[:-4]], tmp_path / "x.body", SizeLimits(1000, 1000)))
