"""JSON bodies, read strictly: what pydantic and `json` would let pass or turn into a 500 is refused here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from fdkd_core.errors import Problem, quote
from service.errors import InvalidRequestError, MalformedRequestError, TooLargeError, UnsupportedMediaTypeError

MAX_DEPTH = 32
Body = TypeVar("Body", bound=BaseModel)


def json_body(model: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """A FastAPI dependency that reads the body as `model`; document it with `json_request(model)`."""

    async def read(request: Request) -> Body:
        limit: int = request.app.state.context.settings.max_json_bytes
        return validate(model, parse(await _read(request, limit)))

    return read


def json_request(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route whose body comes through `json_body(model)`."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def parse(raw: bytes) -> Any:
    """Strict JSON.

    Raises:
        MalformedRequestError: Not JSON in UTF-8, a repeated key, or nested too deep.
        InvalidRequestError: A number that is not finite or has too many digits, or half a surrogate pair.
    """
    raise NotImplementedError


def validate(model: type[Body], document: Any) -> Body:
    """The document as a model, or every problem with its JSON pointer."""
    raise NotImplementedError


async def _read(request: Request, limit: int) -> bytes:
    raise NotImplementedError
