"""The API for tests: in this process, or served by uvicorn where the transport matters.

`make_app` gives a TestClient over a fresh database with a key; `running_service` the same behind a socket.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from service import schema
from service.app import create_app
from service.auth import create_key
from service.context import Context
from service.db import Database
from service.identifiers import new_id
from service.scopes import LOCAL_OWNER
from service.server import Server
from service.settings import Settings


@dataclass(frozen=True)
class ServiceUnderTest:
    """An app, its open context, a key with both scopes, and a client that sends it."""

    app: FastAPI
    settings: Settings
    key: str
    client: TestClient

    @property
    def context(self) -> Context:
        context: Context = self.app.state.context
        return context

    @property
    def database(self) -> Database:
        return self.context.database

    def other_client(self, *scopes: str, owner_id: str | None = None) -> TestClient:
        """A client with a key of its own: of another owner, or of the same one with fewer scopes."""
        key = make_key(self.database, owner_id or new_id("own"), *scopes)
        return TestClient(self.app, base_url="http://localhost", headers=authorization(key))


def authorization(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def make_settings(database_url: str, data_dir: Path, **settings: Any) -> Settings:
    # What a test does not sweep itself stays as it is.
    return Settings(database_url=database_url, data_dir=data_dir, **{"sweep_s": 3600, **settings})


def prepare_database(settings: Settings) -> None:
    """Creates folders, and tables where there are none."""
    settings.make_folders()
    database = Database(settings.resolved_database_url)
    try:
        has_tables = schema.current_revision(database) is not None
    finally:
        database.close()
    if not has_tables:
        schema.migrate(settings.resolved_database_url)


def make_key(database: Database, owner_id: str = LOCAL_OWNER, *scopes: str) -> str:
    with database.write() as session:
        return create_key(session, owner_id=owner_id, name="test", scopes=list(scopes or ("read", "write")))


@contextmanager
def make_app(
    database_url: str, data_dir: Path, *, routers: Sequence[APIRouter] = (), **settings: Any
) -> Iterator[ServiceUnderTest]:
    """The API in this process, with a client that asks as `LOCAL_OWNER`; `routers` are routes of the test."""
    configured = make_settings(database_url, data_dir, **settings)
    prepare_database(configured)
    app = create_app(configured)
    for router in routers:
        app.include_router(router)
    with TestClient(app, base_url="http://localhost") as client:
        key = make_key(app.state.context.database)
        client.headers.update(authorization(key))
        yield ServiceUnderTest(app, configured, key, client)


@dataclass(frozen=True)
class RunningService:
    """A server on a free loopback port."""

    url: str
    port: int
    key: str
    settings: Settings
    app: FastAPI

    @property
    def database(self) -> Database:
        database: Database = self.app.state.context.database
        return database

    @property
    def headers(self) -> dict[str, str]:
        return authorization(self.key)

    def send_raw(self, request: bytes, *, timeout_s: float = 10) -> bytes:
        """Sends bytes as they are and returns everything until the server closes or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as connection:
            # A server that has answered and closed can still be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            return read_until_closed(connection)


def read_until_closed(connection: socket.socket) -> bytes:
    received = b""
    try:
        while block := connection.recv(65536):
            received += block
            if is_complete(received):
                break
    except (TimeoutError, ConnectionResetError):
        pass
    return received


def is_complete(received: bytes) -> bool:
    """Whether one whole response with a Content-Length is there."""
    head, separator, body = received.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if separator and line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return False


@contextmanager
def running_service(
    database_url: str, data_dir: Path, *, routers: Sequence[APIRouter] = (), **settings: Any
) -> Iterator[RunningService]:
    """The API behind uvicorn, in a thread of this process, as `python -m service api` runs it."""
    configured = make_settings(database_url, data_dir, **settings)
    prepare_database(configured)
    app = create_app(configured)
    for router in routers:
        app.include_router(router)
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.01)
        key = make_key(app.state.context.database)
        port = listener.getsockname()[1]
        yield RunningService(f"http://127.0.0.1:{port}", port, key, configured, app)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"
