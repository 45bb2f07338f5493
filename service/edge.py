"""The edge of the API, pure ASGI for speed: what holds for every request, whatever its route.

In this order: a request id; the Host must be one of ours; a key, but for the two health routes; an Accept
header that can be satisfied. On the way out: security headers, an answer even to a bug, and one line in the
log, which never holds a query string, because people put keys there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from functools import lru_cache

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth import PUBLIC_PATHS, KeyRing
from service.errors import InvalidHostError, NotAcceptableError, RequestTimeoutError, ServiceError
from service.problem_responses import internal_error, respond, unavailable

logger = logging.getLogger("fdkd.api")
access_logger = logging.getLogger("fdkd.access")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:@/\s]+)(:[0-9]{0,5})?")
_NOT_ONLY_JSON = re.compile(r"/v1/jobs/[^/]+/(artifacts/.+|events)")
"""Routes that answer with other types and look at Accept themselves."""

BODY_IDLE_S = 60.0
"""For the next piece of a body."""

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]


class Edge:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: list[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._any_host = "*" in self._hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; web sockets are not spoken here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _Exchange(scope, receive, send).run(self)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def serve(self, exchange: _Exchange) -> None:
        """Lets the request through to the app, or refuses it."""
        scope = exchange.scope
        try:
            self._check_host(exchange.host)
            if scope["path"] not in PUBLIC_PATHS:
                keys: KeyRing = scope["app"].state.keys
                scope["fdkd.caller"] = await keys.caller(exchange.authorization)
            _check_accept(exchange.accept, scope["path"])
        except ServiceError as refusal:
            await respond(scope, refusal)(scope, exchange.receive, exchange.send)
        except Exception as error:
            await respond(scope, unavailable(scope, error))(scope, exchange.receive, exchange.send)
        else:
            await self._app(scope, exchange.receive, exchange.send)

    def _check_host(self, hosts: list[str]) -> None:
        if self._any_host:
            return
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None or match[1].lower() not in self._hosts:
            raise InvalidHostError


class _Exchange:
    """One request and its answer."""

    __slots__ = (
        "_has_body", "_receive", "_send", "_started_at", "accept", "authorization", "host",
        "receive", "scope", "status",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.receive = receive
        self.host: list[str] = []
        self.authorization: list[str] = []
        self.accept: list[str] = []
        self.status = 0
        self._started_at = time.perf_counter()
        self._has_body = False
        request_id = b""
        for name, value in scope["headers"]:
            if name == b"host":
                self.host.append(value.decode("latin-1"))
            elif name == b"authorization":
                self.authorization.append(value.decode("latin-1"))
            elif name == b"accept":
                self.accept.append(value.decode("latin-1"))
            elif name == b"x-request-id":
                request_id = value
            elif (name == b"content-length" and value != b"0") or name == b"transfer-encoding":
                self._has_body = True
                self.receive = self._receive_body
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = secrets.token_hex(8).encode()
        scope["fdkd.request_id"] = request_id.decode()

    async def run(self, edge: Edge) -> None:
        """Serves the request, answers even to a bug, and writes the log line."""
        try:
            await edge.serve(self)
        except ClientDisconnect:
            pass  # nobody is left to be answered
        except TimeoutError:
            if self.status or not self._has_body:
                raise
            await respond(self.scope, RequestTimeoutError())(self.scope, self.receive, self.send)
        except Exception:
            # It goes on to the server's log afterwards, with its traceback.
            if not self.status:
                await respond(self.scope, internal_error())(self.scope, self.receive, self.send)
            raise
        finally:
            if access_logger.isEnabledFor(logging.INFO):
                access_logger.info(self._line())

    async def send(self, message: Message) -> None:
        """Passes an answer on with the headers that all answers have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            names = {name for name, _ in headers}
            headers += [header for header in _HEADERS if header[0] not in names]
            if b"cache-control" not in names:
                headers.append((b"cache-control", b"no-store"))
            headers.append((b"x-request-id", self.scope["fdkd.request_id"].encode()))
            if self._has_body:
                # The rest of a body that nobody wants is not read: the connection ends with this answer.
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    async def _receive_body(self) -> Message:
        async with asyncio.timeout(BODY_IDLE_S):
            message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._has_body = False
        return message

    def _line(self) -> str:
        caller = self.scope.get("fdkd.caller")
        return json.dumps(
            {
                "method": self.scope["method"],
                "path": self.scope["raw_path"].decode("latin-1")[:200],
                "status": self.status or None,
                "ms": round(1000 * (time.perf_counter() - self._started_at), 1),
                "request_id": self.scope["fdkd.request_id"],
                "key_id": caller.key_id if caller else None,
            }
        )


def _check_accept(accept: list[str], path: str) -> None:
    """Refuses a request whose answer its client says it cannot take.

    Raises:
        NotAcceptableError: Neither JSON nor, where there is one, another type of this route.
    """
    if not accept or _accepts_json(tuple(accept)) or _NOT_ONLY_JSON.fullmatch(path):
        return
    raise NotAcceptableError("The answer is application/json, which the Accept header excludes.")


@lru_cache(maxsize=256)  # clients say the same thing every time
def _accepts_json(accept: tuple[str, ...]) -> bool:
    ranges = [part.strip().lower() for line in accept for part in line.split(",") if part.strip()]
    if not ranges:
        return True
    for text in ranges:
        media_range, *parameters = (part.strip() for part in text.split(";"))
        refused = any(re.fullmatch(r"q\s*=\s*0(\.0*)?", part) for part in parameters)
        if media_range in ("*/*", "application/*", "application/json") and not refused:
            return True
    return False
