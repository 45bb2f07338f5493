from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from job_records import add_dataset, add_job_in
from service_fixtures import RunningService, ServiceUnderTest, make_app, running_service
from sqlalchemy import insert

from service.artifacts.archives import SUFFIX, Member, Part, parts_document
from service.artifacts.schemas import ArtifactList
from service.context import Context
from service.identifiers import new_id
from service.jobs.states import JobState
from service.tables import Artifact

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TAG = f'"{SHA256}"'


def add_artifact(
    context: Context, job_id: str, name: str = "student/model.onnx", content: bytes = CONTENT, **columns: str
) -> None:
    source = context.settings.data_dir / "source"
    source.write_bytes(content)
    stored = context.storage.put(f"jobs/{job_id}/attempt-1/{name.replace('/', '-')}", source)
    values = {"media_type": "application/octet-stream", **columns}
    with context.database.write() as session:
        session.execute(
            insert(Artifact).values(
                job_id=job_id,
                attempt=1,
                name=name,
                size_bytes=stored.size_bytes,
                sha256=stored.sha256,
                storage_key=stored.key,
                **values,
            )
        )


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[ServiceUnderTest]:
    with make_app(database_url, tmp_path) as service:
        yield service


@pytest.fixture
def job_id(api: ServiceUnderTest) -> str:
    return add_job_in(api.database, add_dataset(api.database), JobState.SUCCEEDED)


@pytest.fixture
def path(api: ServiceUnderTest, job_id: str) -> str:
    add_artifact(api.context, job_id)
    return f"/v1/jobs/{job_id}/artifacts/student/model.onnx"


def test_what_is_listed_can_be_downloaded(api: ServiceUnderTest, job_id: str) -> None:
    for name in ("student/model.onnx", "result.json", "student.zip"):
        add_artifact(api.context, job_id, name, name.encode())
    answer = api.client.get(f"/v1/jobs/{job_id}/artifacts")
    ArtifactList.model_validate_json(answer.text)
    listed = answer.json()["data"]
    assert [entry["name"] for entry in listed] == ["result.json", "student.zip", "student/model.onnx"]
    for entry in listed:
        body = api.client.get(entry["url"]).content
        assert (len(body), hashlib.sha256(body).hexdigest()) == (entry["size_bytes"], entry["sha256"])


def test_a_download(api: ServiceUnderTest, path: str) -> None:
    answer = api.client.get(path)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    headers = answer.headers
    assert headers["etag"] == TAG
    assert headers["content-length"] == str(len(CONTENT))
    assert headers["content-type"] == "application/octet-stream"
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-disposition"] == 'attachment; filename="model.onnx"'
    assert headers["x-content-type-options"] == "nosniff"
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    assert headers["repr-digest"] == f"sha-256=:{digest}:"
    head = api.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    varying = ("x-request-id", "date")
    assert {k: v for k, v in head.headers.items() if k not in varying} == {
        k: v for k, v in headers.items() if k not in varying
    }


def test_a_part_of_it(api: ServiceUnderTest, path: str) -> None:
    answer = api.client.get(path, headers={"Range": "bytes=1000-300999"})
    assert (answer.status_code, answer.content) == (206, CONTENT[1000:301000])
    assert answer.headers["content-range"] == f"bytes 1000-300999/{len(CONTENT)}"
    assert answer.headers["content-length"] == "300000"
    assert answer.headers["etag"] == TAG
    assert api.client.get(path, headers={"Range": "bytes=-5"}).content == CONTENT[-5:]


def test_a_download_goes_on_where_it_was_cut_off(api: ServiceUnderTest, path: str) -> None:
    headers = {"Range": "bytes=500-", "If-Range": TAG}
    assert api.client.get(path, headers=headers).content == CONTENT[500:]
    changed = api.client.get(path, headers={**headers, "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, CONTENT)


def test_an_archive_in_parts(api: ServiceUnderTest, job_id: str, path: str) -> None:
    """It is downloaded like any file, as a whole or from any byte on, and counts no second time."""
    member = f"jobs/{job_id}/attempt-1/student-model.onnx"
    parts: list[Part] = [
        b"head",
        Member(member, len(CONTENT)),
        b"between",
        Member(member, len(CONTENT)),
        b"tail",
    ]
    archive = b"head" + CONTENT + b"between" + CONTENT + b"tail"
    source = api.settings.data_dir / "parts"
    source.write_bytes(parts_document(parts))
    stored = api.context.storage.put(f"jobs/{job_id}/attempt-1/student{SUFFIX}", source)
    with api.database.write() as session:
        session.execute(
            insert(Artifact).values(
                job_id=job_id,
                attempt=1,
                name="student.zip",
                media_type="application/zip",
                size_bytes=len(archive),
                sha256=hashlib.sha256(archive).hexdigest(),
                storage_key=stored.key,
            )
        )
    assert api.client.get("/v1/usage").json()["stored"]["jobs"] == len(CONTENT)
    zip_path = f"/v1/jobs/{job_id}/artifacts/student.zip"
    whole = api.client.get(zip_path)
    assert (whole.status_code, whole.content) == (200, archive)
    assert whole.headers["etag"] == f'"{hashlib.sha256(archive).hexdigest()}"'
    for first, last in ((0, 0), (3, 4), (2, len(CONTENT) + 20), (len(archive) - 3, len(archive) - 1)):
        part = api.client.get(zip_path, headers={"Range": f"bytes={first}-{last}"})
        assert (part.status_code, part.content) == (206, archive[first : last + 1])
    assert api.client.get(zip_path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    api.context.storage.delete(member)
    assert api.client.get(zip_path).status_code == 503


def test_ranges_that_are_refused(api: ServiceUnderTest, path: str) -> None:
    for text in ("bytes=9-1", "bytes=0-1,3-4", "bytes=" + ",".join(["0-1"] * 500), f"bytes={len(CONTENT)}-"):
        answer = api.client.get(path, headers={"Range": text})
        assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
        assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) < 16 << 10


def test_conditions(api: ServiceUnderTest, path: str) -> None:
    held = api.client.get(path, headers={"If-None-Match": f'"x", {TAG}', "Range": "bytes=0-1"})
    assert (held.status_code, held.content, held.headers["etag"]) == (304, b"", TAG)
    assert api.client.get(path, headers={"If-None-Match": '"x"'}).status_code == 200
    assert api.client.get(path, headers={"If-Match": TAG}).status_code == 200
    for other in ('"x"', f"W/{TAG}"):
        answer = api.client.get(path, headers={"If-Match": other})
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")


def test_accept(api: ServiceUnderTest, job_id: str, path: str) -> None:
    for accepted in ("*/*", "application/octet-stream", "application/*", "image/png, */*;q=0.1"):
        assert api.client.get(path, headers={"Accept": accepted}).status_code == 200
    answer = api.client.get(path, headers={"Accept": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    add_artifact(api.context, job_id, "student/README.md", b"#", media_type="text/markdown; charset=utf-8")
    text = api.client.get(path.replace("model.onnx", "README.md"), headers={"Accept": "text/markdown"})
    assert (text.status_code, text.headers["content-type"]) == (200, "text/markdown; charset=utf-8")
    assert text.headers["content-disposition"].startswith("attachment")


def test_an_empty_file(api: ServiceUnderTest, job_id: str) -> None:
    add_artifact(api.context, job_id, "empty", b"")
    path = f"/v1/jobs/{job_id}/artifacts/empty"
    answer = api.client.get(path)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert api.client.get(path, headers={"Range": "bytes=0-"}).status_code == 416


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.SUCCEEDED])
def test_only_what_a_succeeded_job_made_is_there(api: ServiceUnderTest, state: JobState) -> None:
    job_id = add_job_in(api.database, add_dataset(api.database), state)
    add_artifact(api.context, job_id)
    assert api.client.get(f"/v1/jobs/{job_id}/artifacts").json() == {"data": []}
    assert api.client.get(f"/v1/jobs/{job_id}/artifacts/student/model.onnx").status_code == 404


def test_artifacts_of_others(api: ServiceUnderTest, path: str) -> None:
    other = api.other_client("read")
    for address in (path, path.partition("/student")[0]):
        answer = other.get(address)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert api.other_client("write").get(path).status_code == 403


NAMES = [
    "..", ".", "student", "student/", "/student/model.onnx", "student//model.onnx", "student/./model.onnx",
    "student/../student/model.onnx", "..%2f..%2fsecret", "%2e%2e/secret", "%252e%252e/secret", "..%5csecret",
    "student%00/model.onnx", "%00", "student/model.onnx%00", "x" * 300, "STUDENT/MODEL.ONNX", "fdkd.db",
    "student/model.onnx%0d%0aX: y", "%F0%9F%98%80", "' OR 1=1 --", "%ff", "secret",
]  # fmt: skip


def test_names_that_are_none(api: ServiceUnderTest, job_id: str, path: str) -> None:
    for name in NAMES:
        if {".", ".."} & set(name.split("/")):
            continue  # this client resolves dots; see the test below
        for method in ("GET", "HEAD"):
            answer = api.client.request(method, f"/v1/jobs/{job_id}/artifacts/{name}")
            assert answer.status_code == 404, name


def test_a_file_that_the_storage_has_lost(api: ServiceUnderTest, job_id: str, path: str) -> None:
    api.context.storage.delete(f"jobs/{job_id}/attempt-1")
    answer = api.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningService]:
    with running_service(f"sqlite:///{tmp_path / 'test.db'}", tmp_path) as service:
        yield service


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_traversals_as_they_are_written(server: RunningService) -> None:
    """Sent byte for byte: no client resolves the dots first."""
    context: Context = server.app.state.context
    job_id = add_job_in(server.database, add_dataset(server.database), JobState.SUCCEEDED)
    add_artifact(context, job_id)
    (server.settings.data_dir / "storage" / "secret").write_text("canary")
    for name in (*NAMES, "../../../../secret", "student/../../../../secret", "....//secret"):
        target = f"/v1/jobs/{job_id}/artifacts/{name}".replace(" ", "%20")
        request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.key}\r\n\r\n"
        reply = server.send_raw(request.encode())
        assert reply.startswith(b"HTTP/1.1 404"), (name, reply[:200])
        assert b"canary" not in reply


def test_a_client_that_goes_away_leaves_no_open_file(server: RunningService) -> None:
    context: Context = server.app.state.context
    job_id = add_job_in(server.database, add_dataset(server.database), JobState.SUCCEEDED)
    add_artifact(context, job_id, "big", b"x" * (32 << 20))
    url = f"{server.url}/v1/jobs/{job_id}/artifacts/big"
    httpx2.get(url, headers={**server.headers, "Range": "bytes=0-1"})
    before = open_files()
    for _ in range(10):
        with httpx2.stream("GET", url, headers=server.headers) as response:
            assert next(response.iter_raw())
    assert httpx2.get(url, headers=server.headers).content == b"x" * (32 << 20)
    deadline = time.monotonic() + 5
    while open_files() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_files() <= before


def test_a_file_shorter_than_its_row_is_never_taken_for_whole(server: RunningService) -> None:
    context: Context = server.app.state.context
    job_id = add_job_in(server.database, add_dataset(server.database), JobState.SUCCEEDED)
    add_artifact(context, job_id)
    stored = next(path for path in (server.settings.data_dir / "storage").rglob("*") if path.is_file())
    stored.chmod(0o600)
    stored.write_bytes(CONTENT[: len(CONTENT) // 2])
    url = f"{server.url}/v1/jobs/{job_id}/artifacts/student/model.onnx"
    with pytest.raises(httpx2.TransportError):
        httpx2.get(url, headers=server.headers)
    assert httpx2.get(f"{server.url}/v1/jobs", headers=server.headers).status_code == 200


def test_names_in_headers_are_safe(api: ServiceUnderTest, job_id: str) -> None:
    add_artifact(api.context, job_id, "a" * 200 + "/b-c_1.x")
    answer = api.client.get(f"/v1/jobs/{job_id}/artifacts/{'a' * 200}/b-c_1.x")
    assert answer.headers["content-disposition"] == 'attachment; filename="b-c_1.x"'
    assert api.client.get(f"/v1/jobs/{new_id('job')}/artifacts/b-c_1.x").status_code == 404
