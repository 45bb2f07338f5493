"""Lists: newest first, cut by id, continued through an opaque cursor that cannot be made up.

A cursor holds the last id seen and is sealed over owner, route and filters, so it leads nowhere but on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Protocol, TypeVar

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import ColumnElement, Select
from sqlalchemy.orm import InstrumentedAttribute

from fdkd_core.errors import InputError, Problem, quote, visible
from service.auth import PUBLIC_PATHS, Ctx, Reader
from service.errors import InvalidCursorError, ParameterProblem
from service.server_secret import derive_key

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
_SEAL_BYTES = 16
_MAX_CURSOR = 200
_MAX_SHOWN = 80

_CODES = {
    "extra_forbidden": "unknown_filter",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
    "string_too_long": "out_of_range",
    "string_too_short": "out_of_range",
    "literal_error": "not_allowed",
    "invalid_characters": "invalid_characters",
    "invalid_unicode": "invalid_unicode",
}


class Query(BaseModel):
    """Base of the query parameters of a route: what is not declared is refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


class ListQuery(Query):
    """Query parameters of every list; subclasses add filters, as fields that default to None."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    """Most entries to return."""
    cursor: str | None = None
    """`next_cursor` of the page before, with the same filters."""


class HasId(Protocol):
    """A row of a list."""

    id: Any


Q = TypeVar("Q", bound=Query)
L = TypeVar("L", bound=ListQuery)
Item = TypeVar("Item")
Row = TypeVar("Row", bound=HasId)
Columns = TypeVar("Columns", bound=Any)


class Listing(BaseModel, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    has_more: bool
    next_cursor: str | None


@dataclass(frozen=True)
class Page(Generic[L]):
    """What part of a list is asked for."""

    query: L
    after: str | None
    """Id of the last entry of the page before."""
    seal_key: bytes

    def slice(
        self, statement: Select[Columns], column: InstrumentedAttribute[str] | ColumnElement[str]
    ) -> Select[Columns]:
        """Narrows a statement to this page and one row more, which tells whether there is another."""
        if self.after is not None:
            statement = statement.where(column < self.after)
        return statement.order_by(column.desc()).limit(self.query.limit + 1)

    def cut(self, rows: Sequence[Row]) -> tuple[Sequence[Row], str | None]:
        """Splits the rows of `slice` into those to show and the cursor of the next page, if there is one."""
        if len(rows) <= self.query.limit:
            return rows, None
        shown = rows[: self.query.limit]
        return shown, seal(self.seal_key, shown[-1].id)


def page_of(model: type[L]) -> Callable[..., Awaitable[Page[L]]]:
    """A FastAPI dependency that reads the query as `model`; document it with `query_parameters(model)`."""

    # Async, although it waits for nothing: a plain function would cost a trip to a thread.
    async def read(request: Request, context: Ctx, caller: Reader) -> Page[L]:
        query = parse_query(request, model)
        filters = query.model_dump(mode="json", exclude={"limit", "cursor"}, exclude_none=True)
        key = derive_key(
            context.secret, "cursor", caller.owner_id, request.url.path, json.dumps(filters, sort_keys=True)
        )
        return Page(query, None if query.cursor is None else unseal(key, query.cursor), key)

    return read


def query_of(model: type[Q]) -> Callable[[Request], Awaitable[Q]]:
    """A FastAPI dependency for routes with query parameters that are no list."""

    async def read(request: Request) -> Q:
        return parse_query(request, model)

    return read


async def refuse_undeclared(request: Request) -> None:
    """A FastAPI dependency of all routes: one that documents no query parameter takes none.

    A parameter that another route has, such as `validate_only`, is not to be passed over in silence. Probes
    may have any.
    """
    is_probe = request.scope["path"] in PUBLIC_PATHS
    if request.scope["query_string"] and not is_probe and not _has_query(request.scope["route"]):
        parse_query(request, Query)


def _has_query(route: APIRoute) -> bool:
    documented = (route.openapi_extra or {}).get("parameters", ())
    return any(parameter.get("in") == "query" for parameter in documented)


def query_parameters(model: type[Query]) -> dict[str, Any]:
    """`openapi_extra` of a route whose query comes through `page_of(model)` or `query_of(model)`."""
    parameters = []
    for name, field in model.model_json_schema()["properties"].items():
        description = field.pop("description", "")
        field.pop("title", None)
        parameters.append(
            {"name": name, "in": "query", "required": False, "description": description, "schema": field}
        )
    return {"parameters": parameters}


def parse_query(request: Request, model: type[Q]) -> Q:
    """Reads the query string as `model`.

    Raises:
        InputError: With a problem for each parameter that is unknown, repeated or out of range.
    """
    items = request.query_params.multi_items()
    problems = [
        _problem("duplicate_key", f"the query parameter {quote(name)} is given {count} times", name)
        for name, count in Counter(name for name, _ in items).items()
        if count > 1
    ]
    if problems:
        raise InputError(problems)
    try:
        return model.model_validate(dict(items))
    except ValidationError as error:
        raise InputError(
            _as_problem(detail["type"], str(detail["loc"][0]), detail["msg"])
            for detail in error.errors(include_url=False, include_input=False)[:16]
        ) from None


def seal(key: bytes, last_id: str) -> str:
    """Makes the cursor that goes on behind `last_id`."""
    raw = last_id.encode()
    return base64.urlsafe_b64encode(_seal(key, raw) + raw).rstrip(b"=").decode()


def unseal(key: bytes, cursor: str) -> str:
    """Reads a cursor back.

    Raises:
        InvalidCursorError: It was forged, cut off, or made for another owner, route or filter.
    """
    if len(cursor) > _MAX_CURSOR or not cursor.isascii():
        raise InvalidCursorError
    try:
        sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidCursorError from None
    tag, raw = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
    # The unused bits of the last character are not covered by the seal: one text for each cursor.
    if not hmac.compare_digest(tag, _seal(key, raw)) or seal(key, raw.decode()) != cursor:
        raise InvalidCursorError
    return raw.decode()


def _seal(key: bytes, raw: bytes) -> bytes:
    return hmac.digest(key, raw, hashlib.sha256)[:_SEAL_BYTES]


def _as_problem(kind: str, name: str, message: str) -> Problem:
    # `limit=abc` is as far out of the range as 101 is.
    code = "out_of_range" if kind.startswith("int_") else _CODES.get(kind, "wrong_type")
    if code == "unknown_filter":
        return _problem(code, f"there is no query parameter {quote(name)} here", name)
    return _problem(code, f"the query parameter {quote(name)}: {message[0].lower()}{message[1:]}", name)


def _problem(code: str, detail: str, name: str) -> Problem:
    return ParameterProblem(code, detail, parameter=visible(name)[:_MAX_SHOWN])
