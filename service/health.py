"""Whether the process runs, and whether it can do its work."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from sqlalchemy import select

from fdkd_core.spec import SCHEMA_VERSION
from service.auth import Reader
from service.context import Context
from service.db import db_now
from service.tables import Worker

router = APIRouter(tags=["health"])
logger = logging.getLogger("fdkd.api")

STORAGE_CHECK_S = 5.0
"""How long the result of writing a file is believed: the route needs no key, so it must cost little."""
HEARTBEATS_MISSED = 3
"""A worker is there when it was heard of within so many leases."""

Check = Literal["ok", "failed"]


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Checks(BaseModel):
    """What the service needs, one by one."""

    database: Check
    storage: Check
    workers: Literal["ok", "none", "unknown"]


class Readiness(BaseModel):
    """Whether requests can be served. `degraded`: jobs are taken, but no worker runs them at the moment."""

    status: Literal["ok", "degraded", "unavailable"]
    checks: Checks


class Release(BaseModel):
    """What runs here."""

    version: str
    api: Literal["v1"] = "v1"
    schema_version: int
    """Of job specs."""


_RELEASE = Release(version=version("fdkd"), schema_version=SCHEMA_VERSION)


class Readings:
    """Looks at database, storage and workers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._storage: tuple[Check, float] | None = None

    def read(self) -> Readiness:
        """What is there now; storage at most `STORAGE_CHECK_S` seconds ago."""
        try:
            workers: Literal["ok", "none", "unknown"] = "ok" if self._has_worker() else "none"
            database: Check = "ok"
        except Exception as error:
            logger.warning("readiness: database: %s", error)
            database, workers = "failed", "unknown"
        storage = self._check_storage()
        status: Literal["ok", "degraded", "unavailable"] = "ok" if workers == "ok" else "degraded"
        if "failed" in (database, storage):
            status = "unavailable"
        return Readiness(status=status, checks=Checks(database=database, storage=storage, workers=workers))

    def _has_worker(self) -> bool:
        oldest = db_now(-HEARTBEATS_MISSED * self._context.settings.lease_s)
        with self._context.database.read() as session:
            return session.scalar(select(Worker.id).where(Worker.heartbeat_at > oldest).limit(1)) is not None

    def _check_storage(self) -> Check:
        with self._lock:
            if self._storage is None or self._storage[1] < time.monotonic():
                self._storage = self._write_something(), time.monotonic() + STORAGE_CHECK_S
            return self._storage[0]

    def _write_something(self) -> Check:
        """A file through all that a dataset goes through: written, fsynced, named, removed."""
        name = secrets.token_hex(16)
        source, key = self._context.settings.uploads_dir / f"health-{name}", f"health/{name}"
        try:
            source.write_bytes(b"here")
            self._context.storage.put(key, source)
            self._context.storage.delete(key)
        except OSError as error:
            logger.warning("readiness: storage: %s", error)
            return "failed"
        finally:
            source.unlink(missing_ok=True)
        return "ok"


@router.get("/livez")
async def livez() -> Liveness:
    """Says that the process answers; asks nothing else."""
    return Liveness()


@router.get(
    "/readyz", responses={503: {"model": Readiness, "description": "A part is missing; see `checks`."}}
)
def readyz(request: Request, response: Response) -> Readiness:
    """Says whether requests can be served: 503 when the database or the storage fails."""
    readings: Readings = request.app.state.readings
    found = readings.read()
    if found.status == "unavailable":
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return found


@router.get("/v1/version")
async def show_version(caller: Reader) -> Release:
    """Says what runs here."""
    return _RELEASE
