"""Sending a file in parts. A lost connection costs the part that was on its way, not the file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from fdkd_client.errors import APIError, ConflictError, LocalFileError, ServerUnreachableError
from fdkd_client.pages import read
from fdkd_client.results import Upload
from fdkd_client.transport import READ_TIMEOUT_S, Transport, backoff_s, segment

PART_BYTES = 8 << 20
PATIENCE_S = 60.0
"""How long an upload may stand still before it is given up."""

OnBytes = Callable[[int, int], object]
"""Called with bytes sent and bytes in all."""


def send_file(
    transport: Transport, path: Path, *, on_progress: OnBytes | None = None, patience_s: float = PATIENCE_S
) -> Upload:
    """Uploads a file.

    Args:
        transport: Where to.
        path: The file.
        on_progress: Called after each part.
        patience_s: Longest time without a byte arriving.

    Returns:
        The complete upload, whose `sha256` is that of the file.

    Raises:
        LocalFileError: The file cannot be read.
        APIError: The server refused.
        ServerUnreachableError: Nothing arrived for too long.
    """
    try:
        with path.open("rb") as file:
            sha256, size = _hash(file)
            body = {"file_name": path.name, "size_bytes": size, "sha256": sha256}
            # Sent twice it makes two uploads, of which one is left to expire: that harms nobody.
            answer = transport.json("POST", "uploads", body=body, is_repeatable=True)
            upload = read(Upload, answer)
            return _send_parts(transport, file, upload, on_progress, patience_s)
    except OSError as error:
        raise LocalFileError(f"{path} cannot be read: {error.strerror or error}") from error


def _send_parts(
    transport: Transport, file: BinaryIO, upload: Upload, on_progress: OnBytes | None, patience_s: float
) -> Upload:
    last_advance, failures = time.monotonic(), 0
    while upload.offset_bytes < upload.size_bytes:
        before = upload.offset_bytes
        try:
            upload = _send_part(transport, file, upload)
        except (ServerUnreachableError, APIError) as error:
            if isinstance(error, APIError) and error.status not in (409, 429, 502, 503, 504):
                raise
            failures += 1
            if time.monotonic() - last_advance > patience_s:
                raise
            if not isinstance(error, ConflictError):
                time.sleep(backoff_s(failures))
            upload = _ask(transport, upload)
        if upload.offset_bytes > before:
            last_advance, failures = time.monotonic(), 0
            if on_progress is not None:
                on_progress(upload.offset_bytes, upload.size_bytes)
        elif failures > 1:
            time.sleep(backoff_s(failures))
    return upload


def _send_part(transport: Transport, file: BinaryIO, upload: Upload) -> Upload:
    file.seek(upload.offset_bytes)
    part = file.read(min(PART_BYTES, upload.size_bytes - upload.offset_bytes))
    if not part:
        raise LocalFileError(f"{upload.file_name} became shorter while it was sent")
    answer = transport.json(
        "PATCH",
        f"uploads/{segment(upload.id)}",
        content=part,
        headers={
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(upload.offset_bytes),
        },
        is_repeatable=False,  # where to go on is asked first
        timeout_s=READ_TIMEOUT_S,
    )
    return read(Upload, answer)


def _ask(transport: Transport, upload: Upload) -> Upload:
    """What the server has by now; unchanged where it does not say."""
    try:
        return read(Upload, transport.json("GET", f"uploads/{segment(upload.id)}", tries=1))
    except (ServerUnreachableError, APIError) as error:
        if isinstance(error, APIError) and error.status < 500:
            raise
        return upload


def create_from_upload(
    transport: Transport, path: str, body: dict[str, Any], find: Callable[[], dict[str, Any] | None]
) -> dict[str, Any]:
    """Turns an upload into a dataset or model, once, though the answer may get lost.

    An upload that is refused for good is removed.

    Args:
        transport: Whom to ask.
        path: `datasets` or `models`.
        body: Of the request.
        find: What an earlier try with a lost answer made, if it made it.
    """
    lost: ServerUnreachableError | None = None
    for attempt in range(1, 6):
        try:
            return transport.json("POST", path, body=body, is_repeatable=False)
        except ServerUnreachableError as error:
            lost = error
            time.sleep(backoff_s(attempt))
        except APIError as error:
            # The upload is used up and the name taken: by ourselves, if an earlier answer got lost.
            if error.status == 503:
                time.sleep(backoff_s(attempt))
                lost = lost or ServerUnreachableError(str(error))
                continue
            made = find() if lost and error.status in (404, 409, 410, 422) else None
            if made is None:
                if error.status < 500 and error.status not in (401, 429):
                    _forget(transport, body["upload_id"])
                raise
            return made
    assert lost is not None
    raise lost


def _forget(transport: Transport, upload_id: str) -> None:
    """Gives back the room of an upload that nothing will be made of; otherwise it would count for a day."""
    with suppress(ServerUnreachableError, APIError):  # the refusal is what is to be told
        transport.request("DELETE", f"uploads/{segment(upload_id)}", tries=1)


def _hash(file: BinaryIO) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while block := file.read(1 << 20):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size
