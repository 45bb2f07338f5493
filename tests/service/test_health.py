"""Whether it runs, and whether it can work: with real failures of database and disk."""

from __future__ import annotations

import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from cutting_proxy import CuttingProxy
from fastapi import APIRouter
from own_redis import OwnRedis
from service_fixtures import ServiceUnderTest, make_app
from sqlalchemy import text, update

from service import db, health
from service.auth import Ctx, Reader, Writer
from service.db import Database, db_now
from service.identifiers import new_id
from service.settings import Settings
from service.tables import Worker

FINE = {"database": "ok", "storage": "ok", "workers": "ok", "broker": "none"}
"""Checks of a service that has all that it needs, and no broker."""

probe = APIRouter(prefix="/v1/probe")


@probe.get("")
def look(context: Ctx, caller: Reader) -> int:
    with context.database.read() as session:
        return session.execute(text("SELECT 1")).scalar_one()


@probe.post("")
def change(context: Ctx, caller: Writer) -> int:
    with context.database.write() as session:
        return session.execute(text("SELECT 1")).scalar_one()


@probe.post("/row")
def write(context: Ctx, caller: Writer) -> None:
    add_worker(context.database, heard_of_s_ago=0)


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[ServiceUnderTest]:
    with make_app(database_url, tmp_path, routers=[probe], lease_s=2) as service:
        yield service


def add_worker(database: Database, heard_of_s_ago: float) -> None:
    with database.write() as session:
        session.add(
            Worker(
                id=new_id("wrk"),
                host="h",
                pid=1,
                mode="polling",
                slots=1,
                version="1",
                heartbeat_at=db_now(-heard_of_s_ago),
            )
        )


def ready(service: ServiceUnderTest) -> tuple[int, str, dict[str, str]]:
    response = service.client.get("/readyz", headers={"Authorization": ""})
    return response.status_code, response.json()["status"], response.json()["checks"]


def test_livez_asks_nothing(service: ServiceUnderTest) -> None:
    service.database.close()
    response = service.client.get("/livez", headers={"Authorization": ""})
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_monitors_may_ask_with_head(service: ServiceUnderTest) -> None:
    for path in ("/livez", "/readyz"):
        response = service.client.head(path, headers={"Authorization": ""})
        assert (response.status_code, response.content) == (200, b"")
    shutil.rmtree(service.settings.storage_dir)
    service.settings.storage_dir.write_text("a file where the folder was")
    deadline = time.monotonic() + 4 * health.BELIEVED_S
    while service.client.head("/readyz").status_code != 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_ready_without_a_worker_is_degraded_but_serves(service: ServiceUnderTest) -> None:
    assert ready(service) == (200, "degraded", {**FINE, "workers": "none"})
    add_worker(service.database, heard_of_s_ago=7)  # three leases are six seconds
    assert ready(service)[1] == "degraded"
    add_worker(service.database, heard_of_s_ago=5)
    assert ready(service) == (200, "ok", FINE)
    with service.database.write() as session:
        session.execute(update(Worker).values(heartbeat_at=db_now(-3600)))
    assert ready(service)[1] == "degraded"


def test_a_storage_that_refuses_makes_it_unready(
    service: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "BELIEVED_S", 0.0)
    assert ready(service)[2]["storage"] == "ok"
    folder = service.settings.storage_dir
    folder.rename(folder.with_name("gone"))
    folder.write_text("a file where the folder was")
    response = service.client.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (503, "unavailable")
    assert response.json()["checks"]["storage"] == "failed"
    assert response.headers["retry-after"]
    assert response.headers["content-type"] == "application/json"
    folder.unlink()
    folder.with_name("gone").rename(folder)
    assert ready(service)[2]["storage"] == "ok"


def test_the_storage_is_asked_every_few_seconds_at_most(service: ServiceUnderTest) -> None:
    assert ready(service)[2]["storage"] == "ok"
    folder = service.settings.storage_dir
    folder.rename(folder.with_name("gone"))
    assert ready(service)[2]["storage"] == "ok"


def test_checks_leave_nothing_behind(service: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "BELIEVED_S", 0.0)
    for _ in range(3):
        ready(service)
    left = [path for path in service.settings.data_dir.rglob("*") if path.is_file()]
    assert [path for path in left if "health" in str(path)] == []


def test_a_database_that_is_down_is_said_and_survived(postgresql_url: str, tmp_path: Path) -> None:
    """Everything answers 503 with Retry-After, and works again by itself."""
    server, _, name = postgresql_url.rpartition("/")
    with (
        make_app(postgresql_url, tmp_path, routers=[probe]) as service,
        psycopg.connect(f"{server}/postgres", autocommit=True) as admin,
    ):
        assert service.client.post("/v1/probe").status_code == 200
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        cut = admin.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s", [name]
        ).fetchone()
        assert cut is not None
        assert cut[0] >= 1, "the fault did not fire"
        for method, path in (("GET", "/v1/probe"), ("POST", "/v1/probe")):
            response = service.client.request(method, path)
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
            assert response.headers["retry-after"]
            assert name not in response.text
        unknown = service.client.get("/v1/probe", headers={"Authorization": "Bearer x"})
        assert unknown.status_code == 503, "who it is cannot be told, so nothing is said of it"
        assert ready(service) == (
            503, "unavailable", {**FINE, "database": "failed", "workers": "unknown"}
        )  # fmt: skip
        assert service.client.get("/livez").status_code == 200
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert service.client.get("/v1/probe").status_code == 200
        assert service.client.post("/v1/probe").status_code == 200
        assert ready(service)[2]["database"] == "ok"


def test_a_database_that_hangs_is_told_in_time(postgresql_url: str, tmp_path: Path) -> None:
    """It takes connections and never answers, as on a machine that is paused; every thread waits for it."""
    address = urlsplit(postgresql_url)
    with CuttingProxy(address.port or 5432) as proxy:
        url = postgresql_url.replace(f":{address.port}/", f":{proxy.port}/")
        with make_app(url, tmp_path, routers=[probe]) as service:
            assert service.client.get("/v1/probe").status_code == 200
            proxy.hold()
            threads = [
                threading.Thread(target=service.client.get, args=("/v1/probe",), daemon=True)
                for _ in range(50)  # more than there are
            ]
            for thread in threads:
                thread.start()
            began = time.monotonic()
            assert ready(service)[:2] == (503, "unavailable")
            assert health.PATIENCE_S - 1 < time.monotonic() - began < 2 * health.PATIENCE_S
            began = time.monotonic()
            assert ready(service)[:2] == (503, "unavailable")
            assert time.monotonic() - began < health.PATIENCE_S / 2, "it hangs still, and that is known"
            assert proxy.fired >= 1
            proxy.cut_all()
            proxy.release()
            for thread in threads:
                thread.join(60)
            deadline = time.monotonic() + 60
            while ready(service)[0] != 200:  # or its own look would still hold a connection at the end
                assert time.monotonic() < deadline
                time.sleep(0.1)


def test_a_database_that_only_reads_is_said_and_left(postgresql_url: str, tmp_path: Path) -> None:
    """A primary that was made a replica keeps its connections: who stayed on them could never write again."""
    name = postgresql_url.rpartition("/")[2]
    with (
        make_app(postgresql_url, tmp_path, routers=[probe]) as service,
        psycopg.connect(postgresql_url, autocommit=True) as admin,
    ):
        assert service.client.post("/v1/probe/row").status_code == 200
        admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        service.database.close()  # so that the next connections are made under it
        refused = service.client.post("/v1/probe/row")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert refused.headers["retry-after"]
        assert service.client.get("/v1/probe").status_code == 200, "reading goes on"
        assert ready(service)[:2] == (503, "unavailable")
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        service.client.post("/v1/probe/row")  # may meet one of the old connections, and is the last that does
        assert service.client.post("/v1/probe/row").status_code == 200
        assert ready(service)[0] == 200


def test_a_database_whose_machine_is_gone_is_noticed_within_a_lease(postgresql_url: str) -> None:
    """Nothing comes back from it, not even a refusal: only the kernel can tell, if it was asked to."""
    database = Database(Settings(database_url=postgresql_url).resolved_database_url)
    with database.read() as session:
        connection = session.connection().connection.dbapi_connection
        assert isinstance(connection, psycopg.Connection)
        with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as own:
            unanswered_s = own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000
            silent_s, interval_s, count = (
                own.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
    database.close()
    assert 15 < unanswered_s < Settings().lease_s, "longer than a statement may take"
    assert 15 < silent_s + count * interval_s < Settings().lease_s


def test_a_broker_that_fails_or_hangs_degrades_and_nothing_more(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs are taken and run, some seconds later than with one."""
    monkeypatch.setattr(health, "BELIEVED_S", 0.0)
    with OwnRedis.on_a_free_port() as server, redis.Redis(port=server.port) as own:
        with make_app(database_url, tmp_path, broker_url=server.url) as service:
            add_worker(service.database, heard_of_s_ago=0)
            assert ready(service) == (200, "ok", {**FINE, "broker": "ok"})
            own.config_set("maxmemory", 1)
            assert ready(service) == (200, "degraded", {**FINE, "broker": "failed"})
            own.config_set("maxmemory", 0)
            assert ready(service)[1] == "ok"
            assert server.process is not None
            server.process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            assert ready(service) == (200, "degraded", {**FINE, "broker": "failed"})
            assert time.monotonic() - began < 5
            server.kill()
            assert ready(service)[1] == "degraded"
            server.start()
            assert ready(service)[1] == "ok"


def test_a_locked_database_is_busy_not_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "BUSY_TIMEOUT_MS", 200)
    url = f"sqlite:///{tmp_path}/db"
    with make_app(url, tmp_path, routers=[probe]) as service:
        other = Database(url)
        with other.write() as session:
            session.execute(text("SELECT 1"))  # BEGIN IMMEDIATE, held
            started = time.monotonic()
            response = service.client.post("/v1/probe")
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
            assert time.monotonic() - started >= 0.2, "the fault did not fire"
            assert response.headers["retry-after"]
            assert service.client.get("/v1/probe").status_code == 200, "reading goes on"
        other.close()
        assert service.client.post("/v1/probe").status_code == 200


def test_a_file_that_is_no_database_is_a_bug_not_a_pause(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/db"
    with make_app(url, tmp_path, routers=[probe]) as service:
        with service.database.write() as session:
            session.execute(text("DROP TABLE workers"))
        service.client.raise_server_exceptions = False  # type: ignore[attr-defined]
        assert ready(service)[2]["database"] == "failed"


def test_version(service: ServiceUnderTest) -> None:
    found = service.client.get("/v1/version").json()
    assert set(found) == {"version", "api", "schema_version"}
    assert (found["api"], found["schema_version"]) == ("v1", 1)
    assert found["version"][0].isdigit()
