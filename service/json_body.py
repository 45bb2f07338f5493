"""JSON bodies, read strictly: what pydantic and `json` would let pass or turn into a 500 is refused here."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from fdkd_core.errors import InputError, Problem, quote
from fdkd_core.spec.loading import pointer_token, problems_of
from service.auth import Writer
from service.errors import (
    DuplicateKeyError,
    InvalidJsonError,
    TooDeepError,
    TooLargeError,
    UnsupportedMediaTypeError,
)

MAX_DEPTH = 32
MAX_PROBLEMS = 100
_MAX_POINTER = 200
_BEYOND_64_BITS = 1 << 64
Body = TypeVar("Body", bound=BaseModel)


def json_body(model: type[Body]) -> Callable[..., Awaitable[Body]]:
    """A FastAPI dependency that reads the body as `model`; document it with `json_request(model)`."""

    # Whoever may not write is told so first, wherever the handler names its parameters.
    async def read(request: Request, caller: Writer) -> Body:
        return await read_json(request, model)

    return read


def json_request(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route whose body comes through `json_body(model)`."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def read_json(request: Request, model: type[Body]) -> Body:
    """Reads the body of a request as `model`.

    Raises:
        UnsupportedMediaTypeError: It is not `application/json` in UTF-8.
        TooLargeError: It is larger than `max_json_bytes`; the rest of it is not read.
        MalformedRequestError: See `parse`.
        InputError: See `parse` and `validate`.
    """
    limit: int = request.app.state.context.settings.max_json_bytes
    return validate(model, parse(await _read(request, limit)))


def parse(raw: bytes) -> Any:
    """Reads strict JSON.

    Raises:
        MalformedRequestError: Not JSON in UTF-8, a repeated key, or nested too deep.
        InputError: A number that is not finite or beyond 64 bits, half a surrogate pair, or a NUL character.
    """
    try:
        text = raw.decode("utf-8")
        if text.startswith("\ufeff"):
            raise InvalidJsonError("The body begins with a byte order mark.")
        document = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise InvalidJsonError(f"The body is not UTF-8: byte {error.start}.") from None
    except json.JSONDecodeError as error:
        detail = f"The body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}."
        raise InvalidJsonError(detail) from None
    except RecursionError:
        raise TooDeepError(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    problems: list[Problem] = []
    _check_values(document, "", 0, problems)
    if problems:
        raise InputError(problems)
    return document


def validate(model: type[Body], document: Any) -> Body:
    """The document as a model.

    Raises:
        InputError: With a problem for everything that is wrong, each with its JSON pointer.
    """
    if not isinstance(document, dict):
        found = "null" if document is None else type(document).__name__
        raise InputError(Problem("missing_body", f"the body must be a JSON object; found {found}", ""))
    try:
        # Through JSON, so that lists may become tuples while "7" and true still are no integers.
        return model.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        raise InputError(problems_of(error, document)[:MAX_PROBLEMS]) from None


async def _read(request: Request, limit: int) -> bytes:
    types = request.headers.getlist("content-type")
    if len(types) != 1 or not _is_json(types[0]):
        raise UnsupportedMediaTypeError("The body must be sent as `Content-Type: application/json`.")
    if "content-encoding" in request.headers:
        raise UnsupportedMediaTypeError("The body must be sent without Content-Encoding.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        _refuse_size(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            _refuse_size(limit)
    return bytes(body)


def _refuse_size(limit: int) -> NoReturn:
    raise TooLargeError(f"The body is larger than {limit} bytes.")


def _is_json(content_type: str) -> bool:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    return media_type == "application/json" and all(
        part in ("", "charset=utf-8", 'charset="utf-8"') for part in parameters
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKeyError(f"The key {quote(key)} is there twice.")
            seen.add(key)
    return found


def _integer(text: str) -> int:
    # Beyond 4,300 digits int() refuses, and long before it nothing can be meant.
    return int(text) if len(text) <= 20 else _BEYOND_64_BITS


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer)


def _check_values(value: Any, pointer: str, depth: int, problems: list[Problem]) -> None:
    """Notes what JSON may carry and no field can take: infinities, huge integers, broken text."""
    if isinstance(value, str):
        _check_text(value, pointer, problems)
    elif isinstance(value, dict | list):
        if depth >= MAX_DEPTH:
            raise TooDeepError(f"The body is nested deeper than {MAX_DEPTH} levels.")
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            if len(problems) >= MAX_PROBLEMS:
                return
            below = f"{pointer}/{pointer_token(key)}"[:_MAX_POINTER]
            if isinstance(key, str):
                _check_text(key, below, problems)
            _check_values(item, below, depth + 1, problems)
    elif isinstance(value, float) and not math.isfinite(value):
        problems.append(Problem("not_finite", f"found {value}; a finite number is needed", pointer))
    elif isinstance(value, int) and abs(value) >= 2**63:
        problems.append(Problem("out_of_range", "found an integer beyond 64 bits", pointer))


def _check_text(text: str, pointer: str, problems: list[Problem]) -> None:
    if "\0" in text:  # PostgreSQL can store it neither as text nor within JSON
        problems.append(Problem("invalid_characters", "contains the invisible character U+0000", pointer))
    elif not text.isascii() and any("\ud800" <= character < "\ue000" for character in text):
        problems.append(Problem("invalid_unicode", "contains half of a surrogate pair", pointer))
