"""A job's events as they happen. A stream that ends proves nothing: only the job says that it has ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2

from fdkd_client.errors import APIError, ServerUnreachableError, UnexpectedAnswerError
from fdkd_client.pages import read
from fdkd_client.results import Job, JobEvent
from fdkd_client.transport import Transport, backoff_s
from fdkd_client.waiting import PATIENCE_S, Absence, OnAway

SILENCE_S = 45.0
"""A server that is there says something every 15 seconds."""
_PAUSE_S = 0.3
"""Before each new connection."""
_END = "end"
"""Type of the last event of a stream whose job has ended."""


def follow(
    transport: Transport,
    job_path: str,
    after: int | None,
    *,
    on_away: OnAway | None = None,
    patience_s: float = PATIENCE_S,
) -> Iterator[JobEvent]:
    """Yields each event once, and reconnects where the stream broke off, until the job has ended.

    Raises:
        APIError: There is no such job, or it may not be looked at.
        ServerUnreachableError: The server was away for longer than `patience_s` seconds.
    """
    absence = Absence(on_away)
    failures = 0

    def answered() -> None:
        nonlocal failures
        absence.answered()
        failures = 0

    while True:
        try:
            for event in _connect(transport, job_path, after, answered):
                if event.type == _END:
                    # The one proof is what the job itself says.
                    if read(Job, transport.json("GET", job_path, tries=2)).is_terminal:
                        return
                    break
                if event.id is not None:
                    if after is not None and event.id <= after:
                        continue
                    after = event.id
                yield event
        except (ServerUnreachableError, APIError) as error:
            if isinstance(error, APIError) and error.status not in (429, 502, 503, 504):
                raise
            failures += 1
            if absence.failed(error, time.monotonic()) > patience_s:
                raise
        time.sleep(_PAUSE_S + backoff_s(failures))


def _connect(
    transport: Transport, job_path: str, after: int | None, answered: Callable[[], None]
) -> Iterator[JobEvent]:
    """One connection's events."""
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    path = f"{job_path}/events"
    with transport.stream(path, params={"after": after}, headers=headers, timeout_s=SILENCE_S) as response:
        answered()
        if response.status_code == 204:
            yield JobEvent(type=_END)
            return
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise UnexpectedAnswerError(f"{transport.server.url} sends no event stream.")
        for sent in httpx2.EventSource(response):
            if sent.data:  # a block without is no event, such as the pause that the server asks for first
                yield _event(sent)


def _event(sent: httpx2.ServerSentEvent) -> JobEvent:
    try:
        content: Any = json.loads(sent.data)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UnexpectedAnswerError("The server's event stream cannot be read.")
    if sent.event != _END and "type" in content and "data" in content:
        return read(JobEvent, content)
    # Passing news: the decoder repeats the id of the event before, which is not its own.
    return JobEvent(type=sent.event, data=content)
