"""Real servers for the tests that need them, and one thread per process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from ready_databases import ReadyPostgreSQL, create_database, drop_database, lent_database

# Before torch is imported, here and in every process that a test starts: the runner already uses every core,
# and threads that wait for each other spin.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

POSTGRES = os.environ.get("FDKD_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
REDIS = os.environ.get("FDKD_TEST_REDIS_URL", "redis://127.0.0.1:6379")


def _missing(what: str, url: str, error: Exception) -> None:
    """A server that is not there: a reason to skip on a laptop, a failure where everything must be tested."""
    message = f"{what} is not reachable at {url.rpartition('@')[2]}: {error}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


FIRST = (
    "tests/fdkd_client/",
    "tests/worker/",
    "tests/examples/",
    "tests/service/test_server.py",
    "tests/service/uploads/",
    "tests/fdkd_core/diagnosis/",
    "tests/fdkd_core/studies/",
    "tests/fdkd_core/bundle/",
)
"""Files that take minutes. All tests of a file run in one process, which makes what they share once."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files begin, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[psycopg.Connection]:
    """A connection to a real PostgreSQL server."""
    try:
        server = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        _missing("PostgreSQL", POSTGRES, error)
        raise AssertionError from error  # not reached
    with server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: psycopg.Connection) -> Iterator[str]:
    """An empty database of the test's own on a real PostgreSQL server."""
    name = create_database(postgresql_server)
    try:
        yield f"{POSTGRES.rpartition('/')[0]}/{name}"
    finally:
        drop_database(postgresql_server, name)


@pytest.fixture(scope="session")
def ready_postgresql(postgresql_server: psycopg.Connection) -> Iterator[ReadyPostgreSQL]:
    """What `database_url` lends."""
    ready = ReadyPostgreSQL(postgresql_server, POSTGRES)
    yield ready
    ready.drop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with tables and no rows: the test runs once on SQLite and once on PostgreSQL."""
    yield from lent_database(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An empty database on a real Redis server, not shared with a test that runs at the same time."""
    import redis

    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    url = f"{REDIS}/{8 + int(worker) % 8}"
    client = redis.Redis.from_url(url, socket_connect_timeout=5)
    try:
        client.flushdb()
    except redis.ConnectionError as error:
        _missing("Redis", REDIS, error)
    yield url
    client.flushdb()
    client.close()
