"""Whether the process runs, and whether it can do its work."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import threading
import time
from collections.abc import Callable
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

BELIEVED_S = 5.0
"""How long an answer of storage or broker is believed: the route needs no key, so it must cost little."""
PATIENCE_S = 5.0
"""For database and storage; one that has not answered by then counts as failed."""
BROKER_PATIENCE_S = 1.0
"""For the broker, which nobody has to wait for."""
LOOK_S = 0.01
"""Between two looks whether an answer is there."""
HEARTBEATS_MISSED = 3
"""A worker is there when it was heard of within so many leases."""

Check = Literal["ok", "failed"]
Workers = Literal["ok", "none", "unknown"]


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Checks(BaseModel):
    """What the service needs, one by one."""

    database: Check
    storage: Check
    workers: Workers
    broker: Literal["ok", "failed", "none"]
    """`none`: there is no broker, workers look for jobs by themselves; so they do, more rarely, where one has
    failed."""


class Readiness(BaseModel):
    """Whether requests can be served.

    `degraded`: jobs are taken, but no worker runs them at the moment, or, while the broker has failed, only
    some seconds later.
    """

    status: Literal["ok", "degraded", "unavailable"]
    checks: Checks


class Release(BaseModel):
    """What runs here."""

    version: str
    api: Literal["v1"] = "v1"
    schema_version: int
    """Of job specs."""


_RELEASE = Release(version=version("fdkd"), schema_version=SCHEMA_VERSION)


class Probe:
    """A question that may never be answered, asked in a thread of its own; one at a time.

    Args:
        ask: Answers, or raises where something fails.
        patience_s: How long it may take, in seconds.
        is_costly: An answer is good for `BELIEVED_S` seconds.
    """

    def __init__(self, ask: Callable[[], str], patience_s: float, *, is_costly: bool = False) -> None:
        self._ask, self._patience_s, self._is_costly = ask, patience_s, is_costly
        self._lock = threading.Lock()
        self._asked_at = self._answered_at = -math.inf
        self._answer: str | None = None
        self._is_asking = False

    def start(self) -> None:
        """Asks, unless that is under way or the last answer is still good."""
        with self._lock:
            good_for_s = BELIEVED_S if self._is_costly else 0.0
            if self._is_asking or time.monotonic() < self._answered_at + good_for_s:
                return
            self._is_asking, self._asked_at = True, time.monotonic()
        threading.Thread(target=self._run, name="probe", daemon=True).start()

    async def answer(self) -> str | None:
        """What was answered; None when that failed, or takes longer than it may."""
        while self._is_asking:
            if time.monotonic() >= self._asked_at + self._patience_s:
                return None
            await asyncio.sleep(LOOK_S)
        return self._answer

    def _run(self) -> None:
        answer = None
        try:
            answer = self._ask()
        except Exception as error:
            logger.warning("readiness: %s", error)
        with self._lock:
            self._answer, self._answered_at, self._is_asking = answer, time.monotonic(), False


class Readings:
    """Looks at database, storage, broker and workers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._workers = Probe(self._look_for_workers, PATIENCE_S)
        self._storage = Probe(self._write_something, PATIENCE_S, is_costly=True)
        self._broker = Probe(self._try_the_broker, BROKER_PATIENCE_S, is_costly=True)

    async def read(self) -> Readiness:
        """What is there now; of storage and broker, what was there at most `BELIEVED_S` seconds ago."""
        probes = (self._workers, self._storage, self._broker)
        for probe in probes:
            probe.start()
        workers, storage, broker = [await probe.answer() for probe in probes]
        checks = Checks.model_validate(
            {
                "database": "ok" if workers else "failed",
                "storage": storage or "failed",
                "workers": workers or "unknown",
                "broker": broker or "failed",
            }
        )
        status: Literal["ok", "degraded", "unavailable"] = "ok"
        if "failed" in (checks.database, checks.storage):
            status = "unavailable"
        elif checks.workers != "ok" or checks.broker == "failed":
            status = "degraded"
        return Readiness(status=status, checks=checks)

    def _look_for_workers(self) -> str:
        oldest = db_now(-HEARTBEATS_MISSED * self._context.settings.lease_s)
        with self._context.database.read() as session:
            if self._context.database.is_read_only(session):
                raise RuntimeError("the database lets nobody write")
            found = session.scalar(select(Worker.id).where(Worker.heartbeat_at > oldest).limit(1))
        return "none" if found is None else "ok"

    def _write_something(self) -> str:
        """A file through all that a dataset goes through: written, fsynced, named, removed."""
        name = secrets.token_hex(16)
        source, key = self._context.settings.uploads_dir / f"health-{name}", f"health/{name}"
        try:
            source.write_bytes(b"here")
            self._context.storage.put(key, source)
            self._context.storage.delete(key)
        finally:
            source.unlink(missing_ok=True)
        return "ok"

    def _try_the_broker(self) -> str:
        trouble = self._context.wake_up.trouble()
        if trouble is not None:
            logger.warning("readiness: broker: %s", trouble)
        return "failed" if trouble else "ok" if self._context.settings.broker_url else "none"


# Monitors and balancers often ask with HEAD, which is GET without the body.
@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def livez() -> Liveness:
    """Says that the process answers; asks nothing else."""
    return Liveness()


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz", responses={503: {"model": Readiness, "description": "A part is missing; see `checks`."}}
)
async def readyz(request: Request, response: Response) -> Readiness:
    """Says whether requests can be served: 503 when the database or the storage fails or does not answer."""
    readings: Readings = request.app.state.readings
    # Not in a thread of those that serve requests: they may all be waiting for what has to be told of here.
    found = await readings.read()
    if found.status == "unavailable":
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return found


@router.get("/v1/version")
async def show_version(caller: Reader) -> Release:
    """Says what runs here."""
    return _RELEASE
