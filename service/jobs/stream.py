"""A job's events as they happen (server-sent events): what the list of events tells, without asking again.

Durable events carry their id, so a client that was cut off goes on behind the last one it saw. `progress` is
passing news without an id. `end` says that the job has ended and everything was told; whoever connects again
after that gets 204, which tells a browser to stop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Row, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from fdkd_core.errors import InputError, Problem, quote
from service.answers import json_bytes
from service.auth import Caller
from service.context import Context
from service.errors import NotFoundError
from service.jobs import repository
from service.jobs.schemas import MAX_ROW_ID, HistoryQuery
from service.jobs.states import TERMINAL
from service.problem_responses import is_database_trouble
from service.tables import Job

MEDIA_TYPE = "text/event-stream"
POLL_S = 0.5
"""Between two looks at the job; they are made in threads and hold a connection only while they last."""
HEARTBEAT_S = 10.0
"""A line without meaning after so much silence, so that both sides notice a dead connection."""
LONGEST_S = 900.0
"""A stream ends after so long and is connected again, with a fresh look at the key."""
RECONNECT_MS = 1000
STOP_CHECK_S = 0.2
"""How often a waiting stream looks whether the server is stopping."""
_PAGE = 200
_SEPARATORS = [(mark.encode(), f"\\u{ord(mark):04x}".encode()) for mark in "\x85\u2028\u2029"]


@dataclass
class Look:
    """What has changed since the look before."""

    version: int
    events: list[Row[Any]]
    has_more: bool
    progress: dict[str, Any] | None
    state: str | None
    """Of a job that has ended, once all its events are told."""


def last_seen(request: Request, query: HistoryQuery) -> int:
    """The id behind which to go on: the header of a client that reconnects, or `after`, whichever is later.

    Raises:
        InputError: `Last-Event-ID` is no id of an event.
    """
    text = request.headers.get("last-event-id", "")
    if not text:
        return query.after
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= MAX_ROW_ID):
        detail = f"Last-Event-ID is {quote(text)}; an event's id is a whole number"
        raise InputError(Problem("out_of_range", detail))
    return max(query.after, int(text))


def open_stream(context: Context, caller: Caller, job_id: str, after: int) -> Response:
    """Begins to tell a job's events behind the id `after`.

    Raises:
        NotFoundError: No such job.
        TooManyStreamsError: As many streams are open as one owner may have, or as this process keeps.
    """
    with context.database.read() as session:
        repository.require_owner(session, caller.owner_id, job_id)
    first = look(context, job_id, after, version=0)
    if first is None:
        raise NotFoundError.of("job", job_id)
    if after > 0 and first.state is not None and not first.events:
        return Response(status_code=204)
    context.stream_slots.take(caller.owner_id)
    return EventStream(context, caller.owner_id, job_id, after, first)


def look(context: Context, job_id: str, after: int, version: int) -> Look | None:
    """Reads what a stream has to tell next; a version that is still the same means nothing.

    Returns:
        None when the job was deleted.
    """
    with context.database.read() as session:
        job = session.execute(
            select(Job.state, Job.version, Job.progress).where(Job.id == job_id)
        ).one_or_none()
        if job is None:
            return None
        if job.version == version:
            return Look(version, [], False, None, None)
        # The state was read first: what a job did before it ended is there by now.
        rows = list(repository.events(session, job_id, HistoryQuery(after=after, limit=_PAGE)))
    has_more = len(rows) > _PAGE
    ended = job.state in TERMINAL and not has_more
    return Look(
        version if has_more else job.version,
        rows[:_PAGE],
        has_more,
        None if job.state in TERMINAL else job.progress,
        job.state if ended else None,
    )


class EventStream(StreamingResponse):
    """The response: gives its owner's slot back when it ends, however that comes."""

    def __init__(self, context: Context, owner_id: str, job_id: str, after: int, first: Look) -> None:
        super().__init__(
            _tell(context, job_id, after, first),
            media_type=MEDIA_TYPE,
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )
        self._slots, self._owner_id = context.stream_slots, owner_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slots.give_back(self._owner_id)


async def _tell(context: Context, job_id: str, after: int, first: Look) -> AsyncIterator[bytes]:
    yield f"retry: {RECONNECT_MS}\n\n".encode()
    news: Look | None = first
    begun_at = told_at = time.monotonic()
    progress: dict[str, Any] | None = None
    while not context.stopping.is_set() and time.monotonic() - begun_at < LONGEST_S:
        if news is None:
            return  # deleted: whoever connects again is told so
        version = news.version
        for event in news.events:
            after = event.id
            yield _message(event._asdict(), event.type, event.id)
        if news.progress is not None and news.progress != progress:
            progress = news.progress
            yield _message(progress, "progress")
            told_at = time.monotonic()
        if news.state is not None:
            yield _message({"state": news.state}, "end")
            return
        if news.events:
            told_at = time.monotonic()
        elif time.monotonic() - told_at >= HEARTBEAT_S:
            yield b": still here\n\n"
            told_at = time.monotonic()
        if not news.has_more:
            await _pause(context)
        try:
            news = await run_in_threadpool(look, context, job_id, after, version)
        except SQLAlchemyError as error:
            if not is_database_trouble(error):
                raise
            # The database is away: the stream stays, quiet, and tells everything when it is back.
            news = Look(version, [], False, None, None)


async def _pause(context: Context) -> None:
    until = time.monotonic() + POLL_S
    while not context.stopping.is_set() and (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, STOP_CHECK_S))


def _message(data: Any, event: str, event_id: int | None = None) -> bytes:
    head = f"event: {event}\n" if event_id is None else f"id: {event_id}\nevent: {event}\n"
    text = json_bytes(data)
    # JSON has escaped what ends a line here, but not what many clients take for the end of one.
    for separator, escaped in _SEPARATORS:
        text = text.replace(separator, escaped)
    return head.encode() + b"data: " + text + b"\n\n"
