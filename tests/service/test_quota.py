from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from service import quota
from service.db import Database
from service.errors import QuotaExceededError
from service.identifiers import new_id
from service.settings import Settings
from service.tables import Table, Upload


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(Settings(database_url=database_url).resolved_database_url)
    Table.metadata.create_all(found.engine.execution_options(fdkd_write=True))
    yield found
    found.close()


def enter(database: Database, owner_id: str, size_bytes: int, pause_s: float = 0) -> bool:
    try:
        with database.write() as session:
            quota.reserve(session, owner_id, 100, size_bytes)
            time.sleep(pause_s)
            session.add(
                Upload(
                    id=new_id("upl"), owner_id=owner_id, file_name="a", size_bytes=size_bytes,
                    expires_at=datetime.now(UTC),
                )
            )  # fmt: skip
    except QuotaExceededError:
        return False
    return True


def stored(database: Database, owner_id: str) -> int:
    with database.read() as session:
        return quota.stored_bytes(session, owner_id)


def test_the_last_byte_fits(database: Database) -> None:
    assert enter(database, "own_1", 60)
    assert not enter(database, "own_1", 41)
    assert enter(database, "own_1", 40)
    assert not enter(database, "own_1", 1)
    assert enter(database, "own_1", 0)
    assert enter(database, "own_2", 100)
    assert stored(database, "own_1") == 100


def test_what_was_found_stays_true_until_the_row_is_there(database: Database) -> None:
    """Each waits between looking and entering: whoever did not stand in line would overlook the others."""
    with ThreadPoolExecutor(10) as threads:
        entered = [*threads.map(lambda _: enter(database, "own_1", 30, 0.05), range(10))]
    assert sum(entered) == 3
    assert stored(database, "own_1") == 90


def test_a_transaction_that_fails_takes_no_room(database: Database) -> None:
    with contextlib.suppress(KeyError), database.write() as session:
        quota.reserve(session, "own_1", 100, 100)
        raise KeyError
    assert enter(database, "own_1", 100)
