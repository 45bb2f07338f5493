"""`python -m service api` as a process: when it starts, when it refuses to, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from ready_databases import lent_database
from service_fixtures import authorization, make_key
from sqlalchemy import text

from service import schema
from service.db import Database
from service.identifiers import new_id
from service.keys import LOCAL_KEY_FILE
from service.scopes import LOCAL_OWNER
from service.settings import Settings
from service.tables import Dataset, Job


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """What a process of its own does with either database is tested in many places: here one will do."""
    yield from lent_database(request, tmp_path)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    settings = Settings(database_url=database_url, data_dir=tmp_path / "data")
    settings.make_folders()
    schema.migrate(settings.resolved_database_url)
    return settings


def start(settings: Settings, *arguments: str, **popen: object) -> subprocess.Popen[str]:
    environment = os.environ | {
        "FDKD_DATABASE_URL": settings.database_url, "FDKD_DATA_DIR": str(settings.data_dir),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "service", "api", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,  # type: ignore[call-overload]
    )


@contextmanager
def serving(settings: Settings, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the address that it says it listens on."""
    process = start(settings, *(arguments or ("--port", "0")))
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"FDKD API listens on (http://\S+)\n", line)
        assert found, (line, process.poll())
        yield process, found[1]
    finally:
        process.kill()
        process.wait(10)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def add_job(settings: Settings) -> str:
    """A job of the local owner that waits for ever."""
    database = Database(settings.resolved_database_url)
    with database.write() as session:
        dataset = Dataset(
            id=new_id("ds"), owner_id=LOCAL_OWNER, name="d", name_key="d", state="ready", format="zip",
            size_bytes=1, sha256="0" * 64, storage_key="datasets/d",
        )  # fmt: skip
        session.add(dataset)
        session.flush()
        job = Job(
            id=new_id("job"), owner_id=LOCAL_OWNER, kind="train", name="j", spec={}, dataset_id=dataset.id
        )
        session.add(job)
    database.close()
    return job.id


def test_a_stop_does_not_wait_for_a_stuck_handler(tmp_path: Path) -> None:
    """A thread that waits for a locked database would wait for half a minute."""
    settings = Settings(data_dir=tmp_path / "data")
    settings.make_folders()
    schema.migrate(settings.resolved_database_url)
    database = Database(settings.resolved_database_url)
    with serving(settings) as (process, url), database.write() as session:
        session.execute(text("SELECT 1"))  # BEGIN IMMEDIATE
        key = (settings.data_dir / LOCAL_KEY_FILE).read_text().strip()
        body = b'{"file_name": "x.zip", "size_bytes": 1}'
        head = (
            b"POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n" % (len(body), key.encode())
        )
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=0.5) as connection:
            connection.sendall(head + body)
            with pytest.raises(TimeoutError):
                connection.recv(100)
            started = time.monotonic()
            process.terminate()
            process.wait(10)
            assert time.monotonic() - started < 3
    database.close()


def refusal(settings: Settings, *arguments: str) -> str:
    process = start(settings, *arguments)
    said, complaint = process.communicate(timeout=30)
    assert (process.returncode, said) == (1, ""), complaint
    assert "Traceback" not in complaint
    return complaint


def test_it_says_where_it_listens_and_serves_with_the_local_key(settings: Settings) -> None:
    with serving(settings) as (_, url):
        key = (settings.data_dir / LOCAL_KEY_FILE).read_text().strip()
        assert httpx2.get(f"{url}/livez").json() == {"status": "ok"}
        version = httpx2.get(f"{url}/v1/version", headers=authorization(key)).json()
        assert version["api"] == "v1"
        assert httpx2.get(f"{url}/v1/version").status_code == 401


def test_it_takes_a_socket_that_is_bound_already(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        process = start(settings, "--fd", str(listener.fileno()), pass_fds=(listener.fileno(),))
        assert process.stdout is not None
        assert (
            process.stdout.readline() == f"FDKD API listens on http://127.0.0.1:{listener.getsockname()[1]}\n"
        )
        assert httpx2.get(f"http://127.0.0.1:{listener.getsockname()[1]}/livez").status_code == 200
        process.terminate()
        process.communicate(timeout=10)


def test_an_unmigrated_database_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url=empty_database_url, data_dir=tmp_path / "data")
    assert "python -m service migrate" in refusal(settings, "--port", "0")


def test_a_database_of_another_version_is_refused(settings: Settings) -> None:
    database = Database(settings.resolved_database_url)
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'of_tomorrow'"))
    database.close()
    assert "of_tomorrow" in refusal(settings, "--port", "0")


def test_others_may_connect_only_when_there_is_a_key(settings: Settings) -> None:
    complaint = refusal(settings, "--host", "0.0.0.0", "--port", "0")
    assert "keys create" in complaint
    assert not (settings.data_dir / LOCAL_KEY_FILE).exists(), "a key of its own making would not count"

    database = Database(settings.resolved_database_url)
    key = make_key(database)
    with serving(settings, "--host", "0.0.0.0", "--port", "0") as (_, url):
        port = url.rpartition(":")[2]
        assert (
            httpx2.get(f"http://127.0.0.1:{port}/v1/version", headers=authorization(key)).status_code == 200
        )
    with database.write() as session:
        session.execute(text("UPDATE api_keys SET revoked_at = 1"))
    database.close()
    assert "keys create" in refusal(settings, "--host", "0.0.0.0", "--port", "0")


@pytest.mark.parametrize("arguments", [("--host", "no-such-host.invalid"), ("--host", "203.0.113.1"), ()])
def test_an_address_it_cannot_have_is_said_plainly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    settings.make_folders()
    schema.migrate(settings.resolved_database_url)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        complaint = refusal(settings, *arguments, "--port", str(taken.getsockname()[1]))
    assert "cannot listen on" in complaint


def test_a_setting_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "service", "migrate"],
        env=os.environ | {"FDKD_DATA_DIR": str(tmp_path), "FDKD_LEASE_S": "secret-soon"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert "FDKD_LEASE_S" in process.stderr
    assert "secret-soon" not in process.stderr


def test_a_database_that_cannot_be_reached_is_said_plainly(tmp_path: Path) -> None:
    url = "postgresql://someone:secret@127.0.0.1:1/none"
    complaint = refusal(Settings(database_url=url, data_dir=tmp_path), "--port", "0")
    assert "database" in complaint
    assert "secret" not in complaint


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_it_ends_in_three_seconds_whatever_is_open(settings: Settings, number: int) -> None:
    """Idle connections, half a request, half a body, a stream of events."""
    job_id = add_job(settings)
    with serving(settings) as (process, url):
        key = (settings.data_dir / LOCAL_KEY_FILE).read_text().strip()
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        opened = [socket.create_connection(address) for _ in range(4)]
        opened[1].sendall(b"GET /livez HTTP/1.1\r\nHost: local")
        opened[2].sendall(
            b"POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\nAuthorization: Bearer " + key.encode() + b"\r\n\r\n{"
        )
        opened[3].sendall(
            b"GET /v1/jobs/" + job_id.encode() + b"/events HTTP/1.1\r\nHost: localhost\r\n"
            b"Accept: text/event-stream\r\nAuthorization: Bearer " + key.encode() + b"\r\n\r\n"
        )
        opened[3].settimeout(10)
        assert opened[3].recv(1000).startswith(b"HTTP/1.1 200")
        time.sleep(0.3)
        started = time.monotonic()
        process.send_signal(number)
        process.wait(10)
        assert time.monotonic() - started < 3
        assert process.returncode == 0
        for connection in opened:
            connection.close()
    with serving(settings, "--port", str(address[1])):
        pass  # and its port is free again


def test_files_are_for_the_service_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    subprocess.run(
        [sys.executable, "-m", "service", "migrate"],
        env=os.environ | {"FDKD_DATA_DIR": str(settings.data_dir)},
        check=True,
    )
    with serving(settings) as (_, url):
        assert httpx2.get(f"{url}/readyz").status_code == 200
        entries = [settings.data_dir, *settings.data_dir.rglob("*")]
        assert len(entries) > 5
        for entry in entries:
            assert entry.stat().st_mode & 0o077 == 0, entry


def test_the_log_of_the_process_holds_no_key(settings: Settings) -> None:
    with serving(settings) as (process, url):
        key = (settings.data_dir / LOCAL_KEY_FILE).read_text().strip()
        httpx2.get(f"{url}/v1/version?key={key}")
        httpx2.get(f"{url}/v1/version?key={key}", headers=authorization(key))
        httpx2.get(f"{url}/v1/version", headers={"Authorization": f"Basic {key}"})
        process.terminate()
        said, log = process.communicate(timeout=10)
    assert log.count('"path": "/v1/version"') == 3
    assert key not in said + log
