"""Request bodies too large for memory: written to disk as they arrive, hashed on the way, under limits.

Where they lie, and what a server that was killed leaves behind, is said in `service.uploads.files`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fastapi import Request
from starlette.requests import ClientDisconnect

from fdkd_core.errors import InputError
from service.errors import (
    NotFoundError,
    QuotaExceededError,
    ServiceError,
    TooLargeError,
    UnsupportedMediaTypeError,
)

BLOCK_BYTES = 4 << 20
"""Written, synced and entered at a time: what a cut connection or a killed server may cost."""
_MAX_LENGTH_DIGITS = 19
_READ_ANYWAY_BYTES = 1 << 20
_READ_ANYWAY_S = 2.0


@dataclass(frozen=True)
class ReceivedFile:
    """A file that has arrived completely and is on disk."""

    path: Path
    file_name: str
    """As its sender calls it: a claim about its format, never part of a path."""
    size_bytes: int
    sha256: str
    upload_id: str | None = None
    """The resumable upload it came by, which is used up with it."""

    @contextmanager
    def still_there(self) -> Iterator[None]:
        """Wraps what reads the file: another request may use the upload up at any moment.

        Raises:
            NotFoundError: It has done so.
        """
        try:
            yield
        except FileNotFoundError:
            if self.upload_id is None:
                raise
            raise NotFoundError.of("upload", self.upload_id) from None


@dataclass(frozen=True)
class SizeLimits:
    """How large one file may be."""

    max_bytes: int
    """Of its kind."""
    room_bytes: int
    """What its owner's quota leaves. Only a look: the transaction that enters the file decides."""

    def check(self, size_bytes: int) -> None:
        """Refuses a size as soon as it is known.

        Raises:
            TooLargeError: No file of this kind may have it.
            QuotaExceededError: The owner has no room for it.
        """
        if size_bytes > self.max_bytes:
            raise TooLargeError(f"The file is larger than {self.max_bytes} bytes.")
        if size_bytes > self.room_bytes:
            raise QuotaExceededError(
                f"The file needs more than the {max(self.room_bytes, 0)} bytes that your quota leaves. "
                "GET /v1/usage says what takes the room; datasets, models and ended jobs can be deleted."
            )


class BodyFile:
    """A file that grows with a body, readable by its owner alone. Its methods wait for the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        # Unbuffered: what comes here are large blocks.
        self._file = open(path, "xb", buffering=0, opener=_open_private)  # noqa: SIM115 - closed by discard

    def write(self, block: bytes) -> None:
        """Appends and hashes a block."""
        view = memoryview(block)
        while view:
            view = view[self._file.write(view) :]
        self._digest.update(block)
        self.size_bytes += len(block)

    def finish(self, file_name: str) -> ReceivedFile:
        """Waits until everything is on disk."""
        os.fsync(self._file.fileno())
        self._file.close()
        return ReceivedFile(self.path, file_name, self.size_bytes, self._digest.hexdigest())

    def discard(self) -> None:
        """Removes the file, unless it was removed already."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def announced_bytes(request: Request) -> int | None:
    """The Content-Length of a request, which the server has checked; None for a chunked body."""
    length = request.headers.get("content-length")
    return int(length[:_MAX_LENGTH_DIGITS]) if length is not None and length.isdecimal() else None


def require_plain(request: Request, media_type: str) -> None:
    """Refuses a body of another type, or one that is compressed on its way.

    Raises:
        UnsupportedMediaTypeError: It is.
    """
    types = request.headers.getlist("content-type")
    if len(types) != 1 or types[0].split(";")[0].strip().lower() != media_type:
        raise UnsupportedMediaTypeError(f"The body must be sent as `Content-Type: {media_type}`.")
    if "content-encoding" in request.headers:
        raise UnsupportedMediaTypeError("The body must be sent without Content-Encoding.")


@asynccontextmanager
async def answering(request: Request) -> AsyncIterator[None]:
    """Reads a small body to its end when it is refused, since many clients listen only when all is sent.

    What is left of a larger body is not read: the connection closes, and a client still sending gets a reset.
    """
    try:
        yield
    except (ServiceError, InputError):
        announced = announced_bytes(request)
        if announced is not None and announced <= _READ_ANYWAY_BYTES:
            with contextlib.suppress(ClientDisconnect, TimeoutError, RuntimeError):
                async with asyncio.timeout(_READ_ANYWAY_S):
                    async for _ in request.stream():
                        pass
        raise


async def read_blocks(
    request: Request, max_bytes: int, block_bytes: int = BLOCK_BYTES
) -> AsyncGenerator[bytes]:
    """Yields a raw body in blocks; the last one may be shorter.

    A body that is cut off yields what has come of it before it raises.

    Raises:
        TooLargeError: It is announced longer than `max_bytes`, or turns out to be.
        ClientDisconnect: The connection was cut.
        TimeoutError: The body stopped coming.
    """
    announced = announced_bytes(request)
    if announced is not None and announced > max_bytes:
        raise _too_long(max_bytes)
    waiting, received = bytearray(), 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > max_bytes:
                raise _too_long(max_bytes)
            waiting += chunk
            if len(waiting) >= block_bytes:
                yield bytes(waiting)
                waiting.clear()
    except (ClientDisconnect, TimeoutError):
        if waiting:
            yield bytes(waiting)
        raise
    if waiting:
        yield bytes(waiting)


def _too_long(max_bytes: int) -> TooLargeError:
    return TooLargeError(f"The body is longer than the {max_bytes} bytes that are missing.")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
