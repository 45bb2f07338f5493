"""What the service is measured against: the least that FastAPI and SQLAlchemy need to insert and read one row.

    python benchmarks/service/bare.py DATABASE_URL PORT

A validated body, one INSERT and its commit, one SELECT by primary key; no key, no checks, no history. The same
driver, pool and durability (SQLite: WAL, synchronous FULL, BEGIN IMMEDIATE) and the same server as the service.
"""

from __future__ import annotations

import sys
import uuid
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import JSON, String, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Table(DeclarativeBase):  # noqa: D101
    type_annotation_map = {dict[str, Any]: JSON}  # noqa: RUF012


class Row(Table):  # noqa: D101
    __tablename__ = "bare_jobs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    spec: Mapped[dict[str, Any]]


class Body(BaseModel):  # noqa: D101
    spec: dict[str, Any]


class Answer(BaseModel):  # noqa: D101
    id: str
    name: str
    spec: dict[str, Any]


def main(url: str, port: int) -> None:
    engine = create_engine(url, pool_size=10)
    if url.startswith("sqlite"):

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, record: Any) -> None:
            connection.isolation_level = None
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def begin(connection: Any) -> None:
            immediate = connection.get_execution_options().get("write", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    Table.metadata.create_all(engine)
    writing = engine.execution_options(write=True)
    app = FastAPI()

    @app.post("/jobs", status_code=201, response_model=Answer)
    def create(body: Body) -> Row:
        with Session(writing, expire_on_commit=False) as session, session.begin():
            row = Row(id=uuid.uuid4().hex, name=body.spec["name"], spec=body.spec)
            session.add(row)
        return row

    @app.get("/jobs/{job_id}", response_model=Answer)
    def show(job_id: str) -> Row:
        with Session(engine) as session:
            row = session.get(Row, job_id)
            if row is None:
                raise HTTPException(404)
            return row

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
