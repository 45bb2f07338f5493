"""One request to the server: its key, its retries, and its errors as exceptions.

Repeated are only requests that may be repeated without harm (reading, deleting, and what carries an
Idempotency-Key), and only after a lost connection, 429 or 503; a connection that was never made may always be
tried again.
"""

from __future__ import annotations

import email.utils
import json
import platform
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import httpx2

from fdkd_client.discovery import Server
from fdkd_client.errors import (
    APIError,
    ConfigurationError,
    FDKDClientError,
    ServerUnreachableError,
    UnexpectedAnswerError,
    error_class,
)
from fdkd_core.errors import Problem

TRIES = 5
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 10.0
LONGEST_PAUSE_S = 30.0
"""Told to come back later than that, it is the caller who decides."""
_REPEATABLE_METHODS = {"GET", "HEAD", "DELETE"}
_PROBLEM_MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}

Params = Mapping[str, str | int | None]


def segment(text: str) -> str:
    """Anything as one segment of a path: an id that someone mistyped cannot become another address."""
    if text in ("", ".", ".."):
        text = f"~{text}"
    return quote(text, safe="")


class Transport:
    """Speaks HTTP with one server. Not for use by several threads at once."""

    def __init__(self, server: Server) -> None:
        """Args: server: Where to, and with which key.

        Raises:
            ConfigurationError: The key has characters that no key has.
        """
        self.server = server
        headers = {"User-Agent": f"fdkd-client/{version('fdkd')} Python/{platform.python_version()}"}
        if server.api_key is not None:
            if not (server.api_key.isascii() and server.api_key.isprintable() and " " not in server.api_key):
                raise ConfigurationError("The API key has characters that no key has; was it copied whole?")
            headers["Authorization"] = f"Bearer {server.api_key}"
        self._http = httpx2.Client(
            base_url=f"{server.url}/v1/",
            headers=headers,
            timeout=httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # A redirect would carry the key elsewhere; a proxy has no business between two local processes.
            follow_redirects=False,
            trust_env=not server.is_local,
        )

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _require_open(self) -> None:
        if self._http.is_closed:
            raise FDKDClientError("The client has been closed; make a new one.")

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool | None = None,
        tries: int = TRIES,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> httpx2.Response:
        """Sends a request and returns a successful answer, or 304.

        Args:
            method: Of HTTP.
            path: Below `/v1/`.
            params: Query; those that are None are left out.
            body: Sent as JSON.
            content: Sent as it is.
            headers: More headers.
            is_repeatable: Whether it does no harm to send it twice; by default what its method and an
                Idempotency-Key say.
            tries: How often it is sent at most.
            timeout_s: Longest silence of the server, per try.

        Raises:
            APIError: The server refused.
            ServerUnreachableError: No answer.
            FDKDClientError: The client has been closed.
        """
        self._require_open()
        if is_repeatable is None:
            is_repeatable = method in _REPEATABLE_METHODS or "Idempotency-Key" in (headers or {})
        for attempt in range(1, tries + 1):
            try:
                response = self._http.request(
                    method,
                    path,
                    params=_given(params),
                    json=body,
                    content=content,
                    headers=dict(headers or {}),
                    timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
                )
            except httpx2.TransportError as error:
                was_sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
                if attempt == tries or (was_sent and not is_repeatable):
                    raise self._unreachable(error) from error
                time.sleep(backoff_s(attempt))
                continue
            except httpx2.DecodingError as error:
                raise UnexpectedAnswerError(f"{self.server.url}: {error}") from error
            if response.is_success or response.status_code == 304:
                return response
            if method == "DELETE" and attempt > 1 and response.status_code == 404:
                return response  # an earlier try did it, and only its answer was lost
            error_ = api_error(response)
            pause_s = _retry_after_s(response) or backoff_s(attempt)
            if attempt == tries or pause_s > LONGEST_PAUSE_S or not _may_pass(error_, is_repeatable):
                raise error_
            time.sleep(pause_s)
        raise AssertionError("not reached")

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The answer to a request as a JSON object; see `request`.

        Raises:
            UnexpectedAnswerError: It is none.
        """
        return self.as_object(self.request(method, path, **options))

    def as_object(self, response: httpx2.Response) -> dict[str, Any]:
        """The body of an answer as a JSON object.

        Raises:
            UnexpectedAnswerError: It is none.
        """
        try:
            content = response.json()
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise UnexpectedAnswerError(f"{self.server.url} does not answer like an FDKD server.")
        return content

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> Iterator[httpx2.Response]:
        """Opens an answer that is read piece by piece; one try, and errors on the way are translated too.

        Raises:
            APIError: The server refused.
            ServerUnreachableError: No answer, or it broke off.
            FDKDClientError: The client has been closed.
        """
        self._require_open()
        timeout = httpx2.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        try:
            with self._http.stream(
                "GET", path, params=_given(params), headers=dict(headers or {}), timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    raise api_error(response)
                yield response
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error
        except httpx2.DecodingError as error:
            raise UnexpectedAnswerError(f"{self.server.url}: {error}") from error

    def _unreachable(self, error: httpx2.TransportError) -> ServerUnreachableError:
        if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
            raise ConfigurationError(f"{self.server.url} cannot be asked: {error}") from error
        if isinstance(error, httpx2.TimeoutException):
            reason = "it does not answer"
        else:
            reason = str(error) or type(error).__name__
        return ServerUnreachableError(f"{self.server.url} ({self.server.source}) cannot be reached: {reason}")


def backoff_s(attempt: int) -> float:
    """Seconds to wait after the n-th failure, from 1: doubling, half of it random."""
    longest = min(_FIRST_DELAY_S * 2.0 ** (attempt - 1), _LONGEST_DELAY_S)
    return longest * (0.5 + random.random() / 2)  # noqa: S311 - spreads clients, hides nothing


def api_error(response: httpx2.Response) -> APIError:
    """The exception for an answer that is not a success, whoever wrote it."""
    status = response.status_code
    try:
        content = json.loads(response.content)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        content = {}
    listed = content.get("errors")
    problems = [
        Problem(
            str(entry.get("code", "")),
            str(entry.get("detail", "")),
            entry.get("pointer") if isinstance(entry.get("pointer"), str) else None,
            entry.get("row") if isinstance(entry.get("row"), int) else None,
        )
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, dict)
    ]
    return error_class(status)(
        status,
        str(content.get("code") or f"http_{status}"),
        str(content.get("detail") or content.get("title") or f"The server answered {status}."),
        problems=problems,
        request_id=content.get("request_id") or response.headers.get("x-request-id"),
        extensions={name: value for name, value in content.items() if name not in _PROBLEM_MEMBERS},
    )


def _may_pass(error: APIError, is_repeatable: bool) -> bool:
    """Whether the same request may be answered otherwise in a moment, and may be sent again."""
    if error.status == 429:
        return True  # it was turned away before anything was done
    return is_repeatable and (error.status == 503 or error.code == "idempotency_in_progress")


def _retry_after_s(response: httpx2.Response) -> float | None:
    """What `Retry-After` asks for in seconds, with a little jitter."""
    text = response.headers.get("retry-after", "")
    if text.isdigit():
        seconds = float(text[:6])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) + random.random() * 0.2  # noqa: S311 - jitter


def _given(params: Params | None) -> dict[str, str | int]:
    return {name: value for name, value in (params or {}).items() if value is not None}
