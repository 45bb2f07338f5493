"""How migrations run: in one transaction, under a lock, so that of two starters one waits for the other."""

from __future__ import annotations

from typing import Any

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, text

from service.db import Database, Timestamp
from service.settings import Settings
from service.tables import Table

LOCK = 0x66646B64
"""Of PostgreSQL's advisory locks: `fdkd` in ASCII."""


def run(database_url: str) -> None:
    database = Database(database_url)
    try:
        # On SQLite this option makes the transaction BEGIN IMMEDIATE, which is the lock there.
        with database.engine.connect().execution_options(fdkd_write=True) as connection:
            if database.is_sqlite:
                _let_tables_be_rebuilt(connection)
            with connection.begin():
                if not database.is_sqlite:
                    _lock(connection)
                _migrate(connection)
                if database.is_sqlite:
                    _check_references(connection)
    finally:
        database.close()


def _lock(connection: Connection) -> None:
    # The service's connections give up after seconds; a migration may take longer, and so may the one before.
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    connection.execute(text("SET LOCAL lock_timeout = '10min'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    # An ALTER that waits for a busy table makes all others wait behind it: rather fail and be tried again.
    connection.execute(text("SET LOCAL lock_timeout = '5s'"))


def _let_tables_be_rebuilt(connection: Connection) -> None:
    # Batch mode drops the old table, which would delete the rows that refer to it. Within a transaction this
    # pragma does nothing, and SQLAlchemy begins one with its first statement: hence the driver's connection.
    driver: Any = connection.connection.dbapi_connection
    driver.execute("PRAGMA foreign_keys=OFF")


def _check_references(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise RuntimeError(f"the migration would leave {len(broken)} rows that refer to nothing")


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=_render_type,
        compare_type=True,
    )
    context.run_migrations()


def _render_type(kind: str, item: object, autogen: AutogenContext) -> str | bool:
    """Migrations speak of plain types, so that they mean the same when ours have changed."""
    return "sa.Double()" if kind == "type" and isinstance(item, Timestamp) else False


run(context.config.attributes.get("database_url") or Settings().resolved_database_url)
