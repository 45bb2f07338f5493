"""One uvicorn process: limits on what comes before a body, and an end within seconds."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.context import Context
from service.errors import (
    PROBLEM_MEDIA_TYPE,
    HeadersTooLargeError,
    InvalidHostError,
    MalformedRequestError,
    ServiceError,
    UriTooLongError,
)
from service.problem_responses import problem

GRACE_S = 2
"""For requests that are being served when the server is told to stop."""
HEAD_TIMEOUT_S = 15.0
"""For request line and headers, from the first byte or, on a new connection, from its start."""
MAX_URL_BYTES = 8 << 10
MAX_HEADERS_BYTES = 32 << 10
MAX_HEADERS = 100


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, which by itself lets a request's head be as long and as slow as it likes."""

    _head_timer: asyncio.TimerHandle | None = None
    _refusal: ServiceError | None = None
    _headers_bytes = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # uvicorn's own lines show query strings, and its option to turn them off can be overruled by whoever
        # configures logging later.
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Gives the first request its time."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begins to count."""
        super().on_message_begin()
        self._headers_bytes = 0
        if self._head_timer is None:
            self._start_timer()

    def on_url(self, url: bytes) -> None:
        """Refuses a long URL while it arrives."""
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._refuse(UriTooLongError())

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuses many or long headers."""
        super().on_header(name, value)
        self._headers_bytes += len(name) + len(value)
        if self._headers_bytes > MAX_HEADERS_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse(HeadersTooLargeError())

    def on_headers_complete(self) -> None:
        """Refuses a target with a host of its own, which would have to be believed instead of `Host`."""
        self._stop_timer()
        if not self.url.startswith(b"/"):
            self._refuse(InvalidHostError())
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answers what the parser or one of the limits refused."""
        if self.transport.is_closing():
            return
        error = self._refusal or MalformedRequestError()
        document = problem({"fdkd.request_id": secrets.token_hex(8)}, error)
        body = json.dumps(document).encode()
        head = (
            f"content-type: {PROBLEM_MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {document['request_id']}\r\nx-content-type-options: nosniff\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[error.status] + head.encode() + body)
        self.transport.close()

    def _refuse(self, error: ServiceError) -> None:
        self._refusal = error
        raise error  # the parser stops at this and calls for `send_400_response`

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Server(uvicorn.Server):
    """Says when it is ready, and tells open streams to end before it waits for them."""

    def __init__(self, app: FastAPI, *, on_ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=LimitedProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                # Its access log shows query strings; `service.edge` writes its own.
                access_log=False,
                server_header=False,
                # Who calls is said by a key, never by an address that a header claims.
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._app_state = app.state
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends open streams, then waits for what is being served, at most `GRACE_S` seconds."""
        context: Context | Any = self._app_state.context
        context.stopping.set()
        await super().shutdown(sockets)
