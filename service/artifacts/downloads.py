"""A stored file as a response: whole or one range of it, never shown by a browser as a page of ours."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.answers import is_held
from service.artifacts.archives import OpenFile, open_stored
from service.artifacts.ranges import wanted_range
from service.errors import PreconditionFailedError, UnavailableError
from service.storage import Storage
from service.tables import Artifact

BLOCK_BYTES = 1 << 18
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def download(request: Request, storage: Storage, artifact: Artifact) -> Response:
    """Answers a GET or HEAD of an artifact.

    Raises:
        PreconditionFailedError: If-Match names another content.
        RangeNotSatisfiableError: See `ranges.wanted_range`.
        UnavailableError: The storage does not have the file at the moment.
    """
    tag = f'"{artifact.sha256}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "bytes",
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(artifact.sha256)).decode()}:",
        "Content-Disposition": f'attachment; filename="{_file_name(artifact.name)}"',
        "X-Content-Type-Options": "nosniff",
    }
    if not _matches(request, tag):
        raise PreconditionFailedError
    if is_held(request, tag):
        return Response(status_code=304, headers=headers)
    part = wanted_range(request, tag, artifact.size_bytes)
    first, num_bytes = (part.first, part.num_bytes) if part else (0, artifact.size_bytes)
    headers["Content-Length"] = str(num_bytes)
    if part is not None:
        headers["Content-Range"] = part.content_range
    if request.method == "HEAD":
        return Response(headers=headers, media_type=artifact.media_type)
    try:
        file = open_stored(storage, artifact.storage_key)
    except FileNotFoundError:
        raise UnavailableError(f"The file of {artifact.name} cannot be read at the moment.") from None
    return FileResponse(file, first, num_bytes, 206 if part else 200, headers, artifact.media_type)


class FileResponse(StreamingResponse):
    """Bytes of an open file, which is closed however the response ends."""

    def __init__(
        self,
        file: OpenFile,
        first: int,
        num_bytes: int,
        status: int,
        headers: dict[str, str],
        media_type: str,
    ) -> None:
        super().__init__(_blocks(file, first, num_bytes), status, headers, media_type)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the file."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


def _blocks(file: OpenFile, first: int, num_bytes: int) -> Iterator[bytes]:
    file.seek(first)
    while num_bytes > 0:
        block = file.read(min(BLOCK_BYTES, num_bytes))
        if not block:
            # Shorter than its row says: the client must not take what it got for the whole.
            raise OSError("a stored file is shorter than announced")
        num_bytes -= len(block)
        yield block


def _matches(request: Request, tag: str) -> bool:
    wanted = [text.strip() for line in request.headers.getlist("if-match") for text in line.split(",")]
    return not wanted or "*" in wanted or tag in wanted


def _file_name(name: str) -> str:
    """The last part of a name, in characters that no header and no file system gives a meaning."""
    return _UNSAFE.sub("_", name.rpartition("/")[2]).lstrip(".") or "artifact"
