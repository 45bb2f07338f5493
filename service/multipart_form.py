"""A form with one file, `multipart/form-data`: text fields first, then the file, which goes to disk as it is.

Nothing is kept in memory but the fields and a block of the file; nothing is written elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from fdkd_core.errors import quote
from service.bodies import (
    BLOCK_BYTES,
    BodyFile,
    ReceivedFile,
    SizeLimits,
    announced_bytes,
    require_plain,
)
from service.errors import InvalidMultipartError, TooLargeError

MEDIA_TYPE = "multipart/form-data"
FILE_FIELD = "file"
MAX_FIELD_BYTES = 64 << 10
MAX_PARTS = 16
MAX_PART_HEADERS = 8
MAX_HEADER_BYTES = 4 << 10
MAX_AROUND_BYTES = 2 << 20
"""All of a form but its file: 16 fields of 64 KiB with their headers."""

Fields = dict[str, str]
OnFile = Callable[[Fields, str], None]
"""Called with the fields and the file's name before its first byte; raises what refuses them."""


@dataclass(frozen=True)
class ReceivedForm:
    """A form that has arrived completely."""

    fields: Fields
    file: ReceivedFile


def is_form(request: Request) -> bool:
    """Whether the body claims to be a form."""
    return request.headers.get("content-type", "").strip().lower().startswith(MEDIA_TYPE)


@asynccontextmanager
async def receive_form(
    request: Request, path: Path, limits: SizeLimits, on_file: OnFile
) -> AsyncIterator[ReceivedForm]:
    """Receives a form; its file lies at `path` until the end of the `with` block.

    Args:
        request: Whose body has not been read.
        path: A new name on the disk of the storage.
        limits: Checked against the Content-Length at once, and against what comes.
        on_file: See `OnFile`.

    Raises:
        UnsupportedMediaTypeError: Not a form.
        InvalidMultipartError: A broken form, or not exactly one file as its last part.
        TooLargeError: File or field too large; the rest is not read.
        QuotaExceededError: The file does not fit the quota; the rest is not read.
        ClientDisconnect: The connection was cut.
    """
    require_plain(request, MEDIA_TYPE)
    form = _Form(request.headers["content-type"])
    announced = announced_bytes(request)
    if announced is not None:
        limits.check(announced - MAX_AROUND_BYTES)
    with await run_in_threadpool(BodyFile, path) as file:
        yield await _receive(request, form, file, limits, on_file)


async def _receive(
    request: Request, form: _Form, file: BodyFile, limits: SizeLimits, on_file: OnFile
) -> ReceivedForm:
    announced, received, is_accepted = announced_bytes(request), 0, False
    async for chunk in request.stream():
        received += len(chunk)
        form.feed(chunk)
        form.check_around(received)
        if form.file_name is not None:
            if not is_accepted:
                on_file(form.fields, form.file_name)
                is_accepted = True
            limits.check(form.file_bytes + form.least_to_come(announced, received))
            if len(form.waiting) >= BLOCK_BYTES:
                await run_in_threadpool(file.write, form.take())
    file_name = form.finish()
    await run_in_threadpool(file.write, form.take())
    return ReceivedForm(form.fields, await run_in_threadpool(file.finish, file_name))


class _Form:
    """The state of a form while it is parsed."""

    def __init__(self, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise InvalidMultipartError("The Content-Type names no boundary.")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_header_name,
                    "on_header_value": self._add_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
                max_header_count=MAX_PART_HEADERS,
                max_header_size=MAX_HEADER_BYTES,
            )
        except FormParserError:
            raise InvalidMultipartError("The boundary is too long.") from None
        self._delimiter_bytes = len(b"\r\n--" + boundary + b"--")
        self.fields: Fields = {}
        self.file_name: str | None = None
        """Of the file, from its first byte on."""
        self.file_bytes = 0
        self.waiting = bytearray()
        """Of the file, not yet taken to be written."""
        self._num_parts = 0
        self._is_ended = False
        self._field = ""
        self._text = bytearray()
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""

    def feed(self, chunk: bytes) -> None:
        """Takes a piece of the body.

        Raises:
            InvalidMultipartError: It is not a form, or not one that is allowed.
            TooLargeError: A field is too large.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidMultipartError(f"The form cannot be read: {quote(str(error))}.") from None

    def check_around(self, received: int) -> None:
        """Refuses to read on for something that is not the file.

        Raises:
            InvalidMultipartError: No part has begun.
            TooLargeError: Too much was before or behind the file.
        """
        if received > MAX_FIELD_BYTES and not self._num_parts:
            raise InvalidMultipartError("The form does not begin with its boundary.")
        if received - self.file_bytes > MAX_AROUND_BYTES:
            raise TooLargeError(f"There are more than {MAX_AROUND_BYTES} bytes around the file.")

    def take(self) -> bytes:
        """The bytes of the file that wait to be written."""
        block = bytes(self.waiting)
        self.waiting.clear()
        return block

    def least_to_come(self, announced: int | None, received: int) -> int:
        """How many bytes of the file must still come, as it is the last part of an announced body."""
        if announced is None or self._is_ended:
            return 0
        # Behind the delimiter one line end is usual.
        return max(0, announced - received - self._delimiter_bytes - len(b"\r\n"))

    def finish(self) -> str:
        """The file's name, when the form is complete.

        Raises:
            InvalidMultipartError: It is cut off, or has no file.
        """
        if not self._is_ended:
            raise InvalidMultipartError("The form ends before its last boundary.")
        if self.file_name is None:
            raise InvalidMultipartError(f"The form has no file: a part {FILE_FIELD!r} with a filename.")
        return self.file_name

    def _begin_part(self) -> None:
        self._num_parts += 1
        if self._num_parts > MAX_PARTS:
            raise InvalidMultipartError(f"The form has more than {MAX_PARTS} parts.")
        if self.file_name is not None:
            raise InvalidMultipartError("The file must be the last part of the form, and the only file.")
        self._disposition = b""

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        name = self._header_name.lower()
        if name == b"content-disposition":
            self._disposition = self._header_value
        elif name == b"content-transfer-encoding" and self._header_value.strip().lower() not in (
            b"binary",
            b"7bit",
            b"8bit",
        ):
            raise InvalidMultipartError("A part has a Content-Transfer-Encoding.")
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        kind, options = parse_options_header(self._disposition.decode("latin-1"))
        if kind != b"form-data" or b"name" not in options:
            raise InvalidMultipartError("A part has no name.")
        self._field = _decode(options[b"name"], "The name of a part")
        if b"filename" in options:
            if self._field != FILE_FIELD:
                raise InvalidMultipartError(f"The file must be in the part {FILE_FIELD!r}.")
            self.file_name = _decode(options[b"filename"], "The name of the file")
        elif self._field in self.fields:
            raise InvalidMultipartError(f"The field {quote(self._field)} is there twice.")
        elif self._field == FILE_FIELD:
            raise InvalidMultipartError(f"The part {FILE_FIELD!r} has no filename.")
        self._text.clear()

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self.file_name is not None:
            self.waiting += data[start:end]
            self.file_bytes += end - start
            return
        if len(self._text) + end - start > MAX_FIELD_BYTES:
            raise TooLargeError(f"The field {quote(self._field)} is larger than {MAX_FIELD_BYTES} bytes.")
        self._text += data[start:end]

    def _end_part(self) -> None:
        if self.file_name is None:
            self.fields[self._field] = _decode(bytes(self._text), f"The field {quote(self._field)}")

    def _end(self) -> None:
        self._is_ended = True


def _decode(raw: bytes, what: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidMultipartError(f"{what} is not UTF-8.") from None
