"""Errors as clients see them: RFC 9457 problems, at most 16 KiB, which echo little and tell no internals."""

from __future__ import annotations

import errno
import json
import logging
import sqlite3
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from fdkd_core.errors import STORAGE_ERRNOS, InputError, Problem, quote
from fdkd_core.spec.loading import code_of, words_of
from service.errors import (
    PROBLEM_MEDIA_TYPE,
    InvalidRequestError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotFoundError,
    ParameterProblem,
    ServiceError,
    StorageFullError,
    TooLargeError,
    UnavailableError,
    UnsupportedMediaTypeError,
)

MAX_BYTES = 16 << 10
_MAX_ERRORS = 100
_MAX_TEXT = 600
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

# What SQLite answers when the file or the disk is the trouble; its other errors are mistakes in our SQL.
_SQLITE_TROUBLE = frozenset(
    {
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)  # fmt: skip

logger = logging.getLogger("fdkd.api")


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(InputError, _input_error)
    app.add_exception_handler(OSError, _os_error)
    app.add_exception_handler(RequestValidationError, _request_validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    for database_error in (DBAPIError, PoolTimeoutError, DisconnectionError):
        app.add_exception_handler(database_error, _database_error)


def internal_error() -> ServiceError:
    """What is said of a bug: nothing."""
    return ServiceError("Something went wrong in the service; the request id finds it in the log.")


def respond(scope: Scope, error: ServiceError) -> Response:
    """The problem as a response to the request of this scope."""
    return Response(json.dumps(problem(scope, error)), error.status, error.headers, PROBLEM_MEDIA_TYPE)


def problem(scope: Mapping[str, Any], error: ServiceError) -> dict[str, Any]:
    """The error as RFC 9457 has it, at most `MAX_BYTES` long."""
    document: dict[str, Any] = {
        "type": f"urn:fdkd:error:{error.code}",
        "title": error.title(),
        "status": error.status,
        "detail": _short(error.detail),
        "instance": _short(scope.get("raw_path", b"").decode("latin-1"), 200),
        "code": error.code,
        "request_id": scope.get("fdkd.request_id", ""),
        **error.extensions,
        "errors": [],
    }
    size = len(json.dumps(document))
    for found in error.problems[:_MAX_ERRORS]:
        entry = found.as_dict() | {"detail": _short(found.detail)}
        if found.pointer is not None:
            entry["pointer"] = _short(found.pointer, 200)
        size += len(json.dumps(entry)) + 2
        if size > MAX_BYTES - 256:
            break
        document["errors"].append(entry)
    return document


# The handlers are coroutines although they wait for nothing: a plain function would be sent to a thread.
async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    if error.status >= 500:
        logger.error("%s: %s", request.scope.get("fdkd.request_id"), error, exc_info=error)
    return respond(request.scope, error)


async def _input_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, InputError)
    count = len(error.problems)
    detail = error.problems[0].sentence if count == 1 else f"{count} problems were found; see errors."
    refusal = InvalidRequestError(detail, problems=error.problems)
    codes = {found.code for found in error.problems}
    if len(codes) == 1:
        refusal.code = codes.pop()
    return respond(request.scope, refusal)


async def _os_error(request: Request, error: Exception) -> Response:
    """A disk that is full, failing or read-only; any other such error is a bug, and goes on as one."""
    if not isinstance(error, OSError) or error.errno not in STORAGE_ERRNOS:
        raise error
    logger.error("%s: storage: %s", request.scope.get("fdkd.request_id"), error)
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    detail = None if is_full else f"Nothing can be stored at the moment: {error.strerror}."
    return respond(request.scope, StorageFullError(detail))


async def _request_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [_of_parameter(detail) for detail in error.errors()[:_MAX_ERRORS]]
    return await _input_error(request, InputError(problems))


def _of_parameter(detail: Mapping[str, Any]) -> Problem:
    place, *path = (str(part) for part in detail["loc"])
    message = f"{place} parameter {quote('.'.join(path))}: {words_of(detail)}"
    return ParameterProblem(code_of(detail["type"]), message, parameter=".".join(path))


async def _http_exception(request: Request, error: Exception) -> Response:
    """Errors of the framework itself: no such route, wrong method, a body it cannot read."""
    assert isinstance(error, HTTPException)
    known: dict[int, ServiceError] = {
        400: MalformedRequestError(),
        404: NotFoundError(),
        413: TooLargeError(),
        415: UnsupportedMediaTypeError(),
        422: InvalidRequestError(),
        503: UnavailableError(),
    }
    if error.status_code == 405:
        return respond(
            request.scope, MethodNotAllowedError(headers={"Allow": ", ".join(_allowed(request.scope))})
        )
    return respond(request.scope, known.get(error.status_code) or internal_error())


def _allowed(scope: Scope) -> list[str]:
    """The methods that this address takes; the router itself names only those of the first route it met."""
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**scope, "method": method})[0] is Match.FULL
            for route in scope["app"].router.routes
        )
    ]


async def _database_error(request: Request, error: Exception) -> Response:
    """A database that is down or busy; any other database error is a bug, and goes on as one."""
    return respond(request.scope, unavailable(request.scope, error))


def unavailable(scope: Scope, error: Exception) -> UnavailableError:
    """What is said when the database is down or busy.

    Raises:
        Exception: The given one, when it is anything else.
    """
    if not is_database_trouble(error):
        raise error
    cause = getattr(error, "orig", None) or error
    text = quote(" ".join(str(cause).split()), 300)
    logger.warning("%s: database unavailable: %s", scope.get("fdkd.request_id"), text)
    return UnavailableError("The database is down or busy; nothing was lost.")


def is_database_trouble(error: Exception) -> bool:
    """Whether the database is down or busy, rather than asked something wrong."""
    if isinstance(error, DBAPIError):
        if isinstance(error.orig, sqlite3.Error):
            code = getattr(error.orig, "sqlite_errorcode", None)
            return code is not None and code & 0xFF in _SQLITE_TROUBLE
        return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    return isinstance(error, PoolTimeoutError | DisconnectionError)


def _short(text: str, limit: int = _MAX_TEXT) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
