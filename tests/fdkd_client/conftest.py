"""No test sees the configuration of whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_server import ScriptedServer

from fdkd_client import Client

VARIABLES = ("FDKD_URL", "FDKD_API_KEY", "FDKD_DATA_DIR", "FDKD_DATABASE_URL", "FDKD_BROKER_URL")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, empty."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    monkeypatch.setenv("HOME", str(folder))
    for name, below in (("CONFIG", "config"), ("STATE", "state"), ("DATA", "data")):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(folder / below))
    return folder


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A server that says what the test wants it to say."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def client(scripted: ScriptedServer) -> Iterator[Client]:
    """A client of that server."""
    with Client(scripted.url, "fdkd_key") as opened:
        yield opened
