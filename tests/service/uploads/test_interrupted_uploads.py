"""Connections cut and servers killed while a file arrives: nothing is left, or it goes on."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from deployment import Deployment
from file_requests import (
    FORM,
    PART,
    check_refusal,
    dataset_form,
    files_of,
    form,
    names_of,
    nothing_lost,
    part,
    safetensors_bytes,
    snapshot,
    zip_bytes,
)
from ready_databases import lent_database
from service_fixtures import RunningService, running_service

from service.bodies import BLOCK_BYTES
from service.settings import Settings
from service.uploads.files import remove_left_over

CONTENT = zip_bytes({"a": bytes(range(256)) * 40_000})
"""10 MB: more than two blocks."""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """What a process of its own does with either database is tested in many places: here one will do."""
    yield from lent_database(request, tmp_path)


@pytest.fixture
def served(database_url: str, tmp_path: Path) -> Iterator[RunningService]:
    with running_service(database_url, tmp_path / "data") as service:
        yield service


def head(method: str, path: str, key: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


def send_and_reset(port: int, request: bytes) -> None:
    """Sends bytes, waits a moment for the server to take them, and ends the connection with a reset."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(request)
        time.sleep(0.02)


def wait_until(condition: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_twenty_forms_cut_at_sixty_percent(served: RunningService) -> None:
    body = dataset_form("digits", CONTENT[:400_000])
    model = form(
        part("name", b"teacher"),
        part("architecture", b'{"name": "mlp"}'),
        part("file", safetensors_bytes({"a": 100_000}), "model.safetensors"),
    )
    seen = set()
    with nothing_lost(served.settings, within_s=10):
        for number in range(20):
            path, sent = ("/v1/datasets", body) if number % 2 else ("/v1/models", model)
            headers = FORM | {"Content-Length": str(len(sent))}
            with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(head("POST", path, served.key, headers) + sent[: len(sent) * 6 // 10])
                wait_until(lambda: names_of(served.settings.uploads_dir))  # the file had begun
                seen |= set(names_of(served.settings.uploads_dir))
            wait_until(lambda: not names_of(served.settings.uploads_dir))
    assert len(seen) == 20  # each one was there
    for path, sent in (("/v1/datasets", body), ("/v1/models", model)):
        answer = httpx2.post(
            served.url + path, content=sent, headers=served.headers | FORM, trust_env=False, timeout=30
        )
        # Nothing holds the names, and no quota is lost. (The zip was cut for the test, but begins like one.)
        assert answer.status_code == 201, answer.text


def test_a_chunked_form_cut_in_the_middle(served: RunningService) -> None:
    body = dataset_form("digits", CONTENT[:400_000])
    chunk = f"{len(body):x}\r\n".encode() + body[:200_000]
    with nothing_lost(served.settings, within_s=10):
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
            headers = FORM | {"Transfer-Encoding": "chunked"}
            connection.sendall(head("POST", "/v1/datasets", served.key, headers) + chunk)
            wait_until(lambda: names_of(served.settings.uploads_dir))
        wait_until(lambda: not names_of(served.settings.uploads_dir))


def test_a_cut_part_keeps_what_has_arrived(served: RunningService) -> None:
    with httpx2.Client(base_url=served.url, headers=served.headers, trust_env=False, timeout=30) as client:
        made = client.post("/v1/uploads", json={"file_name": "data.zip", "size_bytes": len(CONTENT)})
        path = f"/v1/uploads/{made.json()['id']}"
        offset, cuts = 0, 0
        while offset < len(CONTENT) * 0.9:
            rest = CONTENT[offset:]
            headers = PART | {"Upload-Offset": str(offset), "Content-Length": str(len(rest))}
            sent = rest[: len(rest) * 6 // 10]
            send_and_reset(served.port, head("PATCH", path, served.key, headers) + sent)
            cuts += 1
            before = offset
            wait_until(lambda before=before: client.get(path).json()["offset_bytes"] > before)
            time.sleep(0.2)
            offset = client.get(path).json()["offset_bytes"]
            assert offset <= before + len(sent)
        assert cuts >= 3
        headers = PART | {"Upload-Offset": str(offset)}
        assert client.patch(path, content=CONTENT[offset:], headers=headers).status_code == 200
        used = client.post("/v1/datasets", json={"name": "whole", "upload_id": made.json()["id"]})
    assert used.json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_a_full_disk_is_said_and_leaves_nothing(
    served: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with httpx2.Client(base_url=served.url, headers=served.headers, trust_env=False, timeout=30) as client:
        made = client.post("/v1/uploads", json={"file_name": "data.zip", "size_bytes": len(CONTENT)})
        path = f"/v1/uploads/{made.json()['id']}"
        with nothing_lost(served.settings):
            with monkeypatch.context() as patched:
                patched.setattr(os, "fsync", full)
                for answer in (
                    client.post("/v1/datasets", content=dataset_form("digits", CONTENT), headers=FORM),
                    client.post("/v1/uploads", json={"file_name": "a", "size_bytes": 1}),
                ):
                    check_refusal(answer, 503, "storage_full")
                    assert answer.headers["retry-after"]
        assert client.get(path).json()["offset_bytes"] == 0
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            headers = PART | {"Upload-Offset": "0"}
            check_refusal(client.patch(path, content=CONTENT, headers=headers), 503, "storage_full")
        # Bytes may lie behind the end of the upload; the next try writes over them.
        assert client.get(path).json()["offset_bytes"] == 0
        assert client.patch(path, content=CONTENT, headers=headers).status_code == 200
        used = client.post("/v1/datasets", json={"name": "whole", "upload_id": made.json()["id"]})
    assert used.json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_a_server_killed_while_a_form_arrives(database_url: str, tmp_path: Path) -> None:
    with Deployment(tmp_path / "data", database_url, FDKD_SWEEP_S="3600") as deployed:
        api = deployed.start_api()
        settings = Settings(data_dir=deployed.folder, database_url=database_url)
        before = snapshot(settings)
        body = dataset_form("digits", CONTENT)
        with socket.create_connection(("127.0.0.1", deployed.port), timeout=10) as connection:
            headers = FORM | {"Content-Length": str(len(body))}
            connection.sendall(head("POST", "/v1/datasets", deployed.key, headers) + body[:-1000])
            wait_until(lambda: sum(p.stat().st_size for p in settings.uploads_dir.iterdir()) >= BLOCK_BYTES)
            api.send_signal(signal.SIGKILL)
            api.wait(10)
        [left] = names_of(settings.uploads_dir)  # it fired: the bytes are there
        assert left.endswith(".body")
        assert snapshot(settings)["rows"] == before["rows"]
        os.utime(settings.uploads_dir / left, (time.time() - 7200, time.time() - 7200))
        deployed.start_api()
        # What the sweep does when an hour has passed.
        remove_left_over(deployed.database, settings.uploads_dir)
        assert snapshot(settings) == before
        answer = deployed.http.post("/v1/datasets", content=body, headers=FORM)
        assert answer.status_code == 201
        assert list(files_of(settings).values()) == [hashlib.sha256(CONTENT).hexdigest()]


def test_a_server_killed_while_a_part_arrives(database_url: str, tmp_path: Path) -> None:
    """All but the last block is kept, and the client goes on from there."""
    with Deployment(tmp_path / "data", database_url, FDKD_SWEEP_S="3600") as deployed:
        api = deployed.start_api()
        made = deployed.http.post("/v1/uploads", json={"file_name": "data.zip", "size_bytes": len(CONTENT)})
        path = f"/v1/uploads/{made.json()['id']}"
        with socket.create_connection(("127.0.0.1", deployed.port), timeout=10) as connection:
            headers = PART | {"Upload-Offset": "0", "Content-Length": str(len(CONTENT))}
            connection.sendall(head("PATCH", path, deployed.key, headers) + CONTENT[:-1000])
            wait_until(lambda: deployed.http.get(path).json()["offset_bytes"] >= 2 * BLOCK_BYTES)
            api.send_signal(signal.SIGKILL)
            api.wait(10)
        deployed.start_api()
        offset = deployed.http.get(path).json()["offset_bytes"]
        assert 2 * BLOCK_BYTES <= offset < len(CONTENT)
        headers = PART | {"Upload-Offset": str(offset)}
        assert deployed.http.patch(path, content=CONTENT[offset:], headers=headers).status_code == 200
        used = deployed.http.post("/v1/datasets", json={"name": "whole", "upload_id": made.json()["id"]})
        assert used.json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(("failpoint", "is_there"), [("files.adopted", False), ("files.committed", True)])
def test_a_server_killed_around_the_commit(
    database_url: str, tmp_path: Path, failpoint: str, is_there: bool
) -> None:
    with Deployment(tmp_path / "data", database_url, FDKD_SWEEP_S="3600") as deployed:
        api = deployed.start_api(FDKD_FAILPOINT=failpoint)
        settings = Settings(data_dir=deployed.folder, database_url=database_url)
        with pytest.raises(httpx2.TransportError):
            deployed.http.post("/v1/datasets", content=dataset_form("digits", CONTENT), headers=FORM)
        assert api.wait(10) == 137  # it fired
        deployed.start_api()
        listed = deployed.http.get("/v1/datasets").json()["data"]
        assert [dataset["name"] for dataset in listed] == (["digits"] if is_there else [])
        stored = [name for name in files_of(settings) if name.startswith("storage/")]
        assert len(stored) == 1  # without a row it is the sweep's
        answer = deployed.http.post("/v1/datasets", content=dataset_form("digits", CONTENT), headers=FORM)
        assert answer.status_code == (409 if is_there else 201)
