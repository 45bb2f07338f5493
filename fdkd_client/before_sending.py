"""What would be refused after hours of sending, refused before: the name, and what the file begins with.

The server has the last word on both; these are its own rules, as far as they can be told from here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fdkd_client.errors import ConflictError, ForbiddenError, LocalFileError, RejectedError
from fdkd_client.transport import Transport
from fdkd_core.errors import InputError, Problem, quote
from fdkd_core.file_heads import HEAD_BYTES, UNSAFE_ADVICE, dataset_format, unsafe_by_head, unsafe_by_name
from fdkd_core.spec.strict import Name

_NAME: TypeAdapter[Any] = TypeAdapter(Name)


def require_free_name(transport: Transport, path: str, name: str) -> None:
    """Asks whether a name can be given.

    Args:
        transport: Whom to ask.
        path: `datasets` or `models`.
        name: The name.

    Raises:
        RejectedError: It can be no name.
        ConflictError: `name_taken`.
    """
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"]
        detail = f"{quote(name)} cannot be a name: {said[:1].lower()}{said[1:]}. Nothing was sent."
        problem = Problem("invalid_name", detail, "/name")
        raise RejectedError(422, problem.code, detail, problems=[problem]) from None
    try:
        page = transport.json("GET", path, params={"name": name, "limit": 1})
    except ForbiddenError:
        return  # a key that may write and not look: the server tells it afterwards
    for found in page.get("data", ()):
        detail = f"The name {quote(name)} is taken by {found.get('id')}"
        if found.get("name") != name:
            detail += (
                f", {quote(found.get('name'))}; names that differ only in case or Unicode form are the same"
            )
        elif found.get("state") == "invalid":
            detail += f", which is invalid: `fdkd {path} rm {found.get('id')}` frees the name"
        detail += ". Nothing was sent."
        raise ConflictError(409, "name_taken", detail)


def require_dataset_file(file: Path) -> None:
    """Refuses a file of no known format.

    Raises:
        RejectedError: `unsupported_format`.
        LocalFileError: It cannot be read.
    """
    try:
        dataset_format(_head(file), file.name)
    except InputError as error:
        (problem,) = error.problems
        raise RejectedError(422, problem.code, f"{problem.detail} Nothing was sent.") from None


def require_model_file(file: Path) -> None:
    """Refuses a file whose format can run code when it is loaded.

    Raises:
        RejectedError: `unsafe_format`.
        LocalFileError: It cannot be read.
    """
    head = _head(file)
    # The length that safetensors begin with may look like the mark of a pickle; the brace behind it decides.
    found = unsafe_by_name(file.name) or (None if head[8:9] == b"{" else unsafe_by_head(head))
    if found is not None:
        detail = f"{quote(file.name)} is {found}. {UNSAFE_ADVICE} Nothing was sent."
        raise RejectedError(415, "unsafe_format", detail)


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(HEAD_BYTES)
    except OSError as error:
        raise LocalFileError(f"{file} cannot be read: {error.strerror or error}") from error
