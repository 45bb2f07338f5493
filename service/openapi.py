"""The API's description (OpenAPI 3.1): FastAPI's, with what it cannot know: keys and problems."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from pydantic import BaseModel, ConfigDict

from service.auth import PUBLIC_PATHS, Reader, authorize
from service.errors import (
    PROBLEM_SCHEMA,
    DuplicateKeyError,
    HeadersTooLargeError,
    InvalidHostError,
    InvalidJsonError,
    InvalidRequestError,
    MalformedRequestError,
    MissingScopeError,
    NotAcceptableError,
    NotFoundError,
    RequestTimeoutError,
    ServiceError,
    StorageFullError,
    TooDeepError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    UriTooLongError,
    documented,
)
from service.scopes import SCOPES

router = APIRouter(prefix="/v1", include_in_schema=False)

DESCRIPTION = """Trains a small model of one modality from a teacher of another.

Every request but the two of `health` needs `Authorization: Bearer KEY`. Errors are RFC 9457 problems, told
apart by their `code`. Moments are ISO 8601 in UTC. Unknown fields and query parameters are refused."""

_ANY_REQUEST = (InvalidHostError, MalformedRequestError, NotAcceptableError, ServiceError)
_HEADS = (UriTooLongError, HeadersTooLargeError)
_WITH_KEY = (UnauthenticatedError, MissingScopeError, UnavailableError)
_WITH_BODY = (RequestTimeoutError, TooLargeError, UnsupportedMediaTypeError, StorageFullError)
_WITH_JSON = (InvalidJsonError, DuplicateKeyError, TooDeepError, InvalidRequestError)


class ProblemEntry(BaseModel):
    """One thing wrong with the input."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    code: str
    """Stable name of what is wrong."""
    detail: str
    """What was found and what is allowed."""
    pointer: str | None = None
    """JSON pointer into the body, or a column of the data."""
    parameter: str | None = None
    """Of the address (`limit` in `?limit=x`), where the problem is with one and no pointer leads to it."""
    row: int | None = None
    """Row of the data, from 1."""


class Problem(BaseModel):
    """Why a request was refused (RFC 9457), at most 16 KiB."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    """`urn:fdkd:error:` and the code."""
    title: str
    status: int
    detail: str
    instance: str
    """Path of the request."""
    code: str
    """Stable name of the error; what programs should look at."""
    request_id: str
    """Also the header X-Request-Id; finds the request in the server's log."""
    errors: list[ProblemEntry]
    """Every single thing that is wrong with the input, where that is the trouble."""


@router.get("/openapi.json")
async def show_openapi(request: Request, caller: Reader) -> JSONResponse:
    """Describes the API."""
    return JSONResponse(request.app.openapi())


def install(app: FastAPI) -> None:
    """Makes `app.openapi()` the complete description, made once."""
    made: dict[str, Any] = {}

    def describe() -> dict[str, Any]:
        if not made:
            made.update(_describe(app))
        return made

    app.openapi = describe  # type: ignore[method-assign]


def as_text(app: FastAPI) -> str:
    """The description as it is kept in the repository."""
    return json.dumps(app.openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def required_scopes(route: Any) -> list[str] | None:
    """The scopes that a route asks of a key; None when it does not look at keys."""
    waiting = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        if dependant.call is authorize:
            return list(dependant.own_oauth_scopes or [])
        waiting += dependant.dependencies
    return None


def operations(app: FastAPI) -> Iterator[tuple[str, str, RouteContext]]:
    """Every route of the app as path template, method and FastAPI's record of it."""
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, APIRoute) and route.path_format:
            for method in sorted(route.methods or ()):
                yield route.path_format, method, route


def _describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["securitySchemes"] = {
        "api_key": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key with the scopes "
            + ", ".join(f"`{name}` ({meaning.rstrip('.').lower()})" for name, meaning in SCOPES.items()),
        }
    }
    for path, method, route in operations(app):
        operation = document["paths"].get(path, {}).get(method.lower())
        if operation is not None:
            _complete(operation, path, required_scopes(route))
    _hoist_definitions(document, schemas)
    _name_problems(document)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _complete(operation: dict[str, Any], path: str, scopes: list[str] | None) -> None:
    responses = operation["responses"]
    if "HTTPValidationError" in json.dumps(responses.get("422", {})):
        del responses["422"]
        _add(responses, InvalidRequestError)
    _add(responses, *_ANY_REQUEST, *_HEADS)
    if "{" in path:
        _add(responses, NotFoundError)
    if path not in PUBLIC_PATHS:
        operation["security"] = [{"api_key": scopes or []}]
        _add(responses, *_WITH_KEY)
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        _add(responses, *_WITH_BODY)
    if "application/json" in body:
        _add(responses, *_WITH_JSON)


def _add(responses: dict[str, Any], *errors: type[ServiceError]) -> None:
    """Adds errors to those that the route has documented itself."""
    for status, added in documented(*errors).items():
        there = responses.setdefault(str(status), added)
        if there is added or "application/problem+json" not in there.get("content", {}):
            continue
        lines = dict.fromkeys((there["description"] + "\n\n" + added["description"]).split("\n\n"))
        there["description"] = "\n\n".join(lines)
        codes = sorted({*_codes(there), *_codes(added)})
        if codes:
            there["content"]["application/problem+json"]["schema"] = {
                "allOf": [{"$ref": PROBLEM_SCHEMA}, {"properties": {"code": {"enum": codes}}}]
            }


def _codes(response: dict[str, Any]) -> list[str]:
    parts = response["content"]["application/problem+json"]["schema"].get("allOf", [])
    return [code for part in parts for code in part.get("properties", {}).get("code", {}).get("enum", [])]


def _name_problems(document: dict[str, Any]) -> None:
    """Describes errors once, under their codes, instead of with every route that may meet them."""
    named: dict[str, Any] = document["components"].setdefault("responses", {})
    for item in document["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if "application/problem+json" not in response.get("content", {}):
                    continue
                name = ".".join([status, *sorted(re.findall(r"^`(.+?)`: ", response["description"], re.M))])
                named.setdefault(name, response)
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}


def _hoist_definitions(node: Any, schemas: dict[str, Any]) -> None:
    """Moves `$defs` of schemas that were written in place to the components, where their references point."""
    if isinstance(node, dict):
        for name, schema in node.pop("$defs", {}).items():
            _hoist_definitions(schema, schemas)
            if schemas.setdefault(name, schema) != schema:
                raise ValueError(f"two different schemas are called {name}")
        for child in list(node.values()):
            _hoist_definitions(child, schemas)
    elif isinstance(node, list):
        for child in node:
            _hoist_definitions(child, schemas)
