"""The migrations make exactly the tables of `service.tables`, on both databases, and can be taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, BigInteger, Column, Connection, Integer, MetaData, String, inspect, select, text
from sqlalchemy import Table as SchemaTable
from sqlalchemy.exc import IntegrityError

from service import schema
from service.db import Database, Timestamp
from service.settings import Settings
from service.tables import Table

LOCK = 0x66646B64
TABLES = set(Table.metadata.tables)


@pytest.fixture
def url(empty_database_url: str) -> str:
    return Settings(database_url=empty_database_url).resolved_database_url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def tables(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names()) - {"alembic_version"}


def test_there_is_a_single_line_of_revisions() -> None:
    script = ScriptDirectory(str(schema.MIGRATIONS))
    assert len(script.get_heads()) == 1
    assert all(revision.doc for revision in script.walk_revisions())


def test_upgrade_and_downgrade_from_empty(url: str, database: Database) -> None:
    schema.migrate(url)
    assert tables(database) == TABLES
    assert schema.current_revision(database) == schema.head_revision()
    schema.migrate(url)  # again changes nothing
    schema.take_back(url, "base")
    assert tables(database) == set()
    schema.migrate(url)
    assert tables(database) == TABLES


def test_the_models_are_what_the_migrations_make(url: str, database: Database) -> None:
    schema.migrate(url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []


def test_constraints_are_what_the_migrations_make(url: str, database: Database) -> None:
    """Autogenerate compares neither checks nor conditions of indexes: made both ways, they are equal."""
    schema.migrate(url)
    migrated = described(database)
    schema.take_back(url, "base")
    # A copy: where PostgreSQL adds a constraint later, SQLAlchemy takes it out of its table for good.
    copied = MetaData(naming_convention=Table.metadata.naming_convention)
    for table in Table.metadata.sorted_tables:
        table.to_metadata(copied)
    copied.create_all(database.engine.execution_options(fdkd_write=True))
    assert described(database) == migrated


def described(database: Database) -> dict[str, Any]:
    inspector = inspect(database.engine)
    return {
        name: {
            "columns": sorted(
                (c["name"], repr(c["type"]), c["nullable"]) for c in inspector.get_columns(name)
            ),
            "checks": sorted((c["name"], c["sqltext"]) for c in inspector.get_check_constraints(name)),
            "indexes": sorted(json.dumps(index, default=str) for index in inspector.get_indexes(name)),
            "foreign keys": sorted(map(repr, inspector.get_foreign_keys(name))),
            "unique": sorted(map(repr, inspector.get_unique_constraints(name))),
            "primary key": repr(inspector.get_pk_constraint(name)["constrained_columns"]),
        }
        for name in sorted(TABLES)
    }


def test_every_revision_can_be_taken_back_with_data_in_every_table(url: str, database: Database) -> None:
    schema.migrate(url)
    with database.write() as session:
        fill(session.connection())
    with database.read() as session:
        for table in Table.metadata.sorted_tables:
            assert session.execute(select(table)).all(), table.name
    revisions = [revision.revision for revision in ScriptDirectory(str(schema.MIGRATIONS)).walk_revisions()]
    for revision in [*revisions[1:], "base"]:
        schema.take_back(url, revision)
    assert tables(database) == set()
    schema.migrate(url)
    assert tables(database) == TABLES


def test_the_teacher_of_a_job_becomes_one_of_its_models_and_back(url: str, database: Database) -> None:
    schema.migrate(url)
    schema.take_back(url, "families")
    begun = {"queued": "waits", "running": "runs", "succeeded": "done"}
    with database.write() as session:
        connection = session.connection()
        tables = MetaData()
        tables.reflect(connection, only=["datasets", "models", "jobs"])
        now = datetime.now(UTC).timestamp()
        shared = {"owner_id": "o", "name": "x", "attempt": 0, "created_at": now}
        file = {**shared, "name_key": "x", "state": "ready", "format": "zip", "size_bytes": 1, "sha256": "0",
                "storage_key": "k"}  # fmt: skip
        connection.execute(tables.tables["datasets"].insert().values(id="ds", **file))
        for model_id in ("a", "b"):
            values = {**file, "name_key": model_id, "source": "upload"}
            connection.execute(tables.tables["models"].insert().values(id=model_id, **values))
        job = {**shared, "kind": "distill", "spec": {}, "labels": {}, "dataset_id": "ds", "available_at": now,
               "losses": 0, "version": 1}  # fmt: skip
        for state, job_id in begun.items():
            row = {**job, "id": job_id, "state": state, "teacher_model_id": "a"}
            connection.execute(tables.tables["jobs"].insert().values(row))
        alone = {**job, "id": "alone", "state": "queued", "teacher_model_id": None}
        connection.execute(tables.tables["jobs"].insert().values(alone))
    schema.migrate(url)
    with database.write() as session:
        given = session.execute(text("SELECT job_id, role, model_id FROM job_models ORDER BY job_id")).all()
        assert given == [("done", "teacher", "a"), ("runs", "teacher", "a"), ("waits", "teacher", "a")]
        session.execute(text("INSERT INTO job_models VALUES ('alone', 'start', 'b'), ('done', 'start', 'b')"))
    schema.take_back(url, "families")
    with database.read() as session:
        jobs = session.execute(text("SELECT id, state, teacher_model_id FROM jobs ORDER BY id")).all()
    # The release before does not know what a student begins with: what it cannot do right does not start.
    assert jobs == [
        ("alone", "cancelled", None), ("done", "succeeded", "a"), ("runs", "running", "a"),
        ("waits", "queued", "a"),
    ]  # fmt: skip
    schema.migrate(url)


def fill(connection: Connection) -> None:
    """One row in each table, every column with a value; the circle of models and jobs is closed last."""
    order = {"datasets": 0, "models": 1, "jobs": 2}
    for table in sorted(Table.metadata.tables.values(), key=lambda table: order.get(table.name, 3)):
        row = {c.name: value(table, c) for c in table.columns if (table.name, c.name) != ("models", "job_id")}
        connection.execute(table.insert().values(row))
    models = Table.metadata.tables["models"]
    connection.execute(models.update().values(job_id=value(models, models.c.job_id)))


def value(table: SchemaTable, column: Column[Any]) -> Any:
    for key in column.foreign_keys:
        return f"{key.column.table.name}_1"
    if column.name == "state":
        return "queued" if table.name == "jobs" else "ready"
    if column.name == "id" and isinstance(column.type, String):
        return f"{table.name}_1"
    samples = {Timestamp: datetime.now(UTC), JSON: {"a": [1, "b"]}, Integer: 1, BigInteger: 1, String: "x"}
    return next(sample for kind, sample in samples.items() if isinstance(column.type, kind))


def test_json_is_jsonb_on_postgresql(postgresql_url: str) -> None:
    url = Settings(database_url=postgresql_url).resolved_database_url
    schema.migrate(url)
    database = Database(url)
    kinds = {
        str(column["type"])
        for name in TABLES
        for column in inspect(database.engine).get_columns(name)
        if "JSON" in str(column["type"])
    }
    database.close()
    assert kinds == {"JSONB"}


def test_the_driver_refuses_references_to_nothing_after_a_migration(url: str, database: Database) -> None:
    """SQLite's foreign keys are off while a migration rebuilds tables, and only then."""
    schema.migrate(url)
    with pytest.raises(IntegrityError):
        with database.write() as session:
            session.execute(text("INSERT INTO job_logs VALUES (1, 'job_x', 1, 'trainer', 'line', 0)"))


@pytest.mark.slow
def test_two_that_start_at_once_wait_for_each_other(url: str, database: Database) -> None:
    command = [sys.executable, "-m", "service", "migrate"]
    environment = os.environ | {"FDKD_DATABASE_URL": url}
    starters = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(3)]
    for starter in starters:
        _, said = starter.communicate(timeout=60)
        assert starter.returncode == 0, said.decode()
    assert tables(database) == TABLES


def test_a_migration_waits_while_another_holds_the_lock(url: str, database: Database) -> None:
    schema.migrate(url)
    schema.take_back(url, "base")
    errors: list[Exception] = []

    def migrate() -> None:
        try:
            schema.migrate(url)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=migrate)
    with database.write() as session:
        if not database.is_sqlite:
            session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        else:
            session.execute(text("SELECT 1"))  # BEGIN IMMEDIATE
        thread.start()
        time.sleep(1)
        assert thread.is_alive(), "it did not wait"
    thread.join(30)
    assert not thread.is_alive()
    assert errors == []
    assert tables(database) == TABLES


def test_a_database_of_another_version_is_refused(url: str, database: Database) -> None:
    with pytest.raises(schema.SchemaError, match="has no tables yet: run `python -m service migrate`"):
        schema.require_current(database)
    schema.migrate(url)
    schema.require_current(database)
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'of_tomorrow'"))
    with pytest.raises(schema.SchemaError, match="is at revision of_tomorrow"):
        schema.require_current(database)


def test_a_migration_that_fails_leaves_nothing_behind(
    url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = op.create_table

    def create_some(name: str, *rest: Any, **options: Any) -> Any:
        if name == "jobs":
            raise RuntimeError("a power cut, say")
        return create(name, *rest, **options)

    monkeypatch.setattr(op, "create_table", create_some)
    with pytest.raises(RuntimeError, match="a power cut, say"):
        schema.migrate(url)
    assert tables(database) == set()
    assert schema.current_revision(database) is None
