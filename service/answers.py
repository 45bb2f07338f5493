"""Answers as bytes that are ready to send, and the conditions under which they need not be sent at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from pydantic_core import to_json


def json_bytes(document: Any) -> bytes:
    """Writes JSON; moments become ISO 8601 in UTC with `Z`."""
    return to_json(document)


def json_answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Makes a JSON response.

    A document of our own making is not validated again on its way out, which would cost more than making it;
    tests compare it with the documented model instead.
    """
    return Response(json_bytes(document), status, headers, "application/json")


def tagged_answer(request: Request, tag: str, document: Any) -> Response:
    """Answers with the document and its strong ETag, or with 304 when the client holds just that."""
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if is_held(request, tag):
        return Response(status_code=304, headers=headers)
    return json_answer(document, headers=headers)


def is_held(request: Request, tag: str) -> bool:
    """Whether If-None-Match names what the client would get; weak tags count (RFC 9110, 13.1.2)."""
    held = [text.strip() for line in request.headers.getlist("if-none-match") for text in line.split(",")]
    return "*" in held or any(text.removeprefix("W/") == tag for text in held)
