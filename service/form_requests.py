"""Requests that make something of a file: a form with the file in it, or JSON that names an upload."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel

from fdkd_core.errors import InputError, Problem
from service.bodies import ReceivedFile, SizeLimits, answering
from service.context import Context
from service.errors import (
    ChecksumMismatchError,
    ExpiredError,
    IncompleteUploadError,
    InvalidMultipartError,
    MalformedRequestError,
    NameTakenError,
    NotFoundError,
    QuotaExceededError,
    TooLargeError,
    UnsupportedMediaTypeError,
)
from service.json_body import json_request, parse, validate
from service.multipart_form import FILE_FIELD, MEDIA_TYPE, Fields, receive_form
from service.uploads.files import new_body_path

FILE_ERRORS = (
    InvalidMultipartError,
    NotFoundError,
    ExpiredError,
    IncompleteUploadError,
    NameTakenError,
    QuotaExceededError,
    TooLargeError,
    UnsupportedMediaTypeError,
    ChecksumMismatchError,
)
"""What such a request may meet besides problems of its fields."""

Form = TypeVar("Form", bound=BaseModel)


@asynccontextmanager
async def receive(
    request: Request,
    limits: SizeLimits,
    model: type[Form],
    *,
    json_fields: tuple[str, ...] = (),
    check_name: Callable[[str], None] = lambda file_name: None,
) -> AsyncIterator[tuple[Form, ReceivedFile]]:
    """Receives a form; its file is on disk until the end of the `with` block.

    Fields and file name are checked before the file's first byte, so that a mistake in them does not cost an
    upload.

    Args:
        request: Whose body has not been read.
        limits: Of the file.
        model: Of the text fields.
        json_fields: Those that hold JSON.
        check_name: Raises what refuses the file by its name.

    Raises:
        InputError: The fields are wrong, each problem with its JSON pointer.
        ServiceError: See `receive_form`.
    """
    context: Context = request.app.state.context
    forms: list[Form] = []

    def check(fields: Fields, file_name: str) -> None:
        document = {
            name: _parse_field(name, text) if name in json_fields else text for name, text in fields.items()
        }
        forms.append(validate(model, document))
        check_name(file_name)

    path = new_body_path(context.settings.uploads_dir)
    async with answering(request), receive_form(request, path, limits, check) as received:
        yield forms[0], received.file


def _parse_field(name: str, text: str) -> Any:
    """JSON of a field of a form; what is wrong with it is said of the field."""
    pointer = f"/{name}"
    try:
        return parse(text.encode())
    except MalformedRequestError as error:
        detail = error.detail.replace("The body", f"The field `{name}`", 1)
        raise type(error)(detail, problems=[Problem(error.code, detail, pointer)]) from None
    except InputError as error:
        raise InputError(
            replace(problem, pointer=pointer + (problem.pointer or "")) for problem in error.problems
        ) from None


def form_request(form: type[BaseModel], from_upload: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that takes both."""
    described = json_request(from_upload)
    schema = form.model_json_schema(ref_template="#/components/schemas/{model}")
    schema["properties"][FILE_FIELD] = {
        "type": "string",
        "format": "binary",
        "description": "The file, as the last part.",
    }
    schema["required"] = [*schema.get("required", []), FILE_FIELD]
    described["requestBody"]["content"][MEDIA_TYPE] = {"schema": schema}
    return described
