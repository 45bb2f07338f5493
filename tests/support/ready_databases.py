"""Databases with the tables of today in them: migrating one anew takes longer than most tests.

SQLite: a copy of a file that was migrated once. PostgreSQL: one database per test process, emptied after each
test; one that a test has left with other tables is thrown away.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from service import schema

_SHAPE = """
select concat_ws(' ', table_name, column_name, data_type) from information_schema.columns
where table_schema = 'public' union all select version_num from alembic_version order by 1
"""


@functools.cache
def _migrated_file() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fdkd-tables-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / "migrated.db"
    schema.migrate(f"sqlite:///{file}")
    return file


def sqlite_with_tables(file: Path) -> str:
    """Writes a database there; returns its URL."""
    # No journal lies beside it: whoever closes last folds it in.
    shutil.copyfile(_migrated_file(), file)
    return f"sqlite:///{file}"


class ReadyPostgreSQL:
    """One database on a real server, with tables and no rows.

    Args:
        server: Any database of the server, by whose URL others are made.
    """

    def __init__(self, server: psycopg.Connection, url: str) -> None:
        self._server = server
        self._place = url.rpartition("/")[0]
        self._name: str | None = None
        self._shape: list[tuple[str]] = []

    @contextmanager
    def lent(self) -> Iterator[str]:
        """Its URL, for one test."""
        url = self._made()
        try:
            yield url
        finally:
            self._emptied(url)

    def drop(self) -> None:
        """Removes it, whoever is connected."""
        if self._name is not None:
            drop_database(self._server, self._name)
            self._name = None

    def _made(self) -> str:
        if self._name is None:
            self._name = create_database(self._server)
            url = f"{self._place}/{self._name}"
            schema.migrate(url.replace("postgresql://", "postgresql+psycopg://"))
            with psycopg.connect(url) as own:
                self._shape = _shape(own)
        return f"{self._place}/{self._name}"

    def _emptied(self, url: str) -> None:
        assert self._name is not None
        # As dropping it did: nobody goes on with what the next test finds.
        self._server.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", [self._name]
        )
        with contextlib.suppress(psycopg.errors.UndefinedTable), psycopg.connect(url) as own:
            if _shape(own) == self._shape:
                _delete_rows(own)
                return
        self.drop()


def lent_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Body of the fixture `database_url`: the URL of a database with tables and no rows, by its parameter."""
    if request.param == "sqlite":
        yield sqlite_with_tables(folder / "test.db")
        return
    ready: ReadyPostgreSQL = request.getfixturevalue("ready_postgresql")
    with ready.lent() as url:
        yield url


def create_database(server: psycopg.Connection) -> str:
    """Makes an empty one; returns its name."""
    name = f"fdkd_test_{uuid.uuid4().hex}"
    server.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    # No test turns the server's power off, and its disk is shared by all of them.
    server.execute(sql.SQL("alter database {} set synchronous_commit = off").format(sql.Identifier(name)))
    return name


def drop_database(server: psycopg.Connection, name: str) -> None:
    """Removes one, whoever is connected."""
    server.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def _delete_rows(connection: psycopg.Connection) -> None:
    """Of all tables in one statement, at whose end foreign keys are looked at.

    To truncate them takes a hundred times as long.
    """
    tables = connection.execute(
        "select tablename from pg_tables where schemaname = 'public' and tablename <> 'alembic_version'"
    ).fetchall()
    deletes = [sql.SQL("delete from {}").format(sql.Identifier(table)) for (table,) in tables]
    steps = [
        sql.SQL("{} as ({})").format(sql.Identifier(f"step_{index}"), delete)
        for index, delete in enumerate(deletes)
    ]
    connection.execute(sql.SQL("with {} select 1").format(sql.SQL(", ").join(steps)))
    # Numbers begin anew too.
    connection.execute("select setval(format('%I', sequencename)::regclass, 1, false) from pg_sequences")


def _shape(connection: psycopg.Connection) -> list[tuple[str]]:
    """Tables, columns and revision."""
    return connection.execute(_SHAPE).fetchall()
