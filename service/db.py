"""The database: SQLite or PostgreSQL behind one synchronous SQLAlchemy stack, for API and workers alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Double, Engine, create_engine, event, literal, text
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

BUSY_TIMEOUT_MS = 30_000
PING_AFTER_IDLE_S = 1.0
"""A connection to PostgreSQL that lay idle for so long is tried before it is used. To try it every time would
cost each request two more round trips; one that was cut since it was last used gives a 503."""

_GONE_WITHOUT_A_WORD = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}
"""For libpq: a machine that died, or a network that drops everything, is noticed after 20 s, within a lease.
By default whoever waits for an answer then waits for two hours, and whoever asks for a quarter of one."""


_READ_ONLY = "25006"
"""PostgreSQL's code for a write where only reading is allowed."""


class Timestamp(TypeDecorator[datetime]):
    """A moment: aware datetime in Python, Unix seconds as a double in the database (microseconds survive).

    Seconds make the lease arithmetic one expression on both databases.
    """

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> float | None:
        """Unix seconds."""
        return None if value is None else value.timestamp()

    def process_result_value(self, value: float | None, dialect: Dialect) -> datetime | None:
        """Aware, in UTC."""
        return None if value is None else datetime.fromtimestamp(value, UTC)


class db_now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock. Leases are judged by it alone, never by the clock of a worker.

    `db_now(30)` is thirty seconds from now.
    """

    type = Timestamp()
    inherit_cache = True

    def __init__(self, plus_s: float = 0) -> None:
        super().__init__(literal(float(plus_s), Double))


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, compiler: SQLCompiler, **options: Any) -> str:
    # unixepoch('subsec') would read better, but needs SQLite 3.42; Debian 12 has 3.40.
    return f"((julianday('now') - 2440587.5) * 86400.0 + {compiler.process(element.clauses, **options)})"


@compiles(db_now, "postgresql")
def _postgresql_now(element: db_now, compiler: SQLCompiler, **options: Any) -> str:
    # Not now(): a transaction that waited for a lock must not judge by the moment it began.
    return f"(extract(epoch from clock_timestamp())::float8 + {compiler.process(element.clauses, **options)})"


class Database:
    """Engine and transactions.

    `write()` is one transaction, committed at its end; `read()` is a look. Neither is held while
    anything else is waited for.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.engine = _engine(url, pool_size)
        self._write_engine = self.engine.execution_options(fdkd_write=True)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        # PostgreSQL looks anew for each statement of a transaction too; without one it is one round trip.
        self._read_engine = (
            self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        )
        # SQLite has one writer. Waiting for it in line beats its busy handler, which sleeps and tries again.
        self._writer: AbstractContextManager[Any] = threading.Lock() if self.is_sqlite else nullcontext()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One read-write transaction: commits at the end, rolls back on an error."""
        with self._writer, Session(self._write_engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session to look with; nothing may be changed in it."""
        with Session(self._read_engine, expire_on_commit=False) as session:
            yield session

    def is_read_only(self, session: Session) -> bool:
        """Whether the server lets nobody write."""
        if self.is_sqlite:
            return False
        return bool(session.scalar(text("SELECT current_setting('transaction_read_only') = 'on'")))

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()


def _engine(url: str, pool_size: int) -> Engine:
    if url.startswith("sqlite"):
        engine = create_engine(
            url,
            pool_size=pool_size,
            connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
            json_serializer=_json_text,
            json_deserializer=from_json,
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = create_engine(
        url,
        pool_size=pool_size,
        json_serializer=_json_text,
        json_deserializer=from_json,
        connect_args={
            "connect_timeout": 5,
            **_GONE_WITHOUT_A_WORD,
            # No statement here runs long enough to be worth compiling, which takes longer than all of them.
            "options": "-c statement_timeout=15000 -c idle_in_transaction_session_timeout=30000"
            " -c lock_timeout=10000 -c jit=off",
        },
    )
    event.listen(engine, "handle_error", _leave_read_only)
    event.listen(engine, "checkin", _note_return)
    event.listen(engine, "checkout", partial(_ping_after_idleness, engine.dialect))
    return engine


def _leave_read_only(context: ExceptionContext) -> None:
    """Takes a server that lets nobody write for one that is away: the next connection may find another.

    A primary that became a replica keeps its connections, and a hosted one whose disk is full does the same.
    """
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def _json_text(value: Any) -> str:
    # Several times as fast as the standard library, and a spec is written with every job.
    return to_json(value).decode()


def _note_return(connection: Any, record: Any) -> None:
    record.info["returned_at"] = time.monotonic()


def _ping_after_idleness(dialect: Dialect, connection: Any, record: Any, proxy: Any) -> None:
    """Makes the pool replace a connection that the server has closed in the meantime."""
    idle_s = time.monotonic() - record.info.get("returned_at", time.monotonic())
    if idle_s < PING_AFTER_IDLE_S:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise DisconnectionError from error


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # The driver's own BEGIN is deferred and fails under write contention (1338 of 1600 in a measurement).
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # NORMAL may lose a committed transaction in a power cut; an acknowledged job must survive one.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    is_write = connection.get_execution_options().get("fdkd_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")
