"""Answers as bytes that are ready to send, and the conditions under which they need not be sent at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from pydantic_core import to_json

_IS_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")


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


def accepts(request: Request, *media_types: str) -> bool:
    """Whether the Accept header lets one of these types through; without the header anything goes."""
    lines = request.headers.getlist("accept")
    ranges = [part for line in lines for part in line.split(",") if part.strip()]
    if not ranges:
        return True
    wanted = set()
    for text in ranges:
        media_range, *parameters = (part.strip().lower() for part in text.split(";"))
        if not any(_IS_REFUSED.fullmatch(part) for part in parameters):
            wanted.add(media_range)
    for media_type in media_types:
        name = media_type.partition(";")[0]
        if {"*/*", f"{name.partition('/')[0]}/*", name} & wanted:
            return True
    return False


def names_type(request: Request, media_type: str) -> bool:
    """Whether the Accept header asks for this very type, not for any."""
    lines = ",".join(request.headers.getlist("accept")).lower()
    return any(part.split(";")[0].strip() == media_type for part in lines.split(",")) and accepts(
        request, media_type
    )
