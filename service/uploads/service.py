"""Uploads that survive a lost connection: announced, sent in parts, and used up by a dataset or model."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.concurrency import run_in_threadpool

from service import quota
from service.bodies import ReceivedFile
from service.context import Context
from service.db import db_now
from service.errors import ChecksumMismatchError, IncompleteUploadError, NotFoundError, TooLargeError
from service.identifiers import new_id
from service.tables import Upload
from service.uploads import repository
from service.uploads.files import locked_part, make_part, part_path, write_block
from service.uploads.schemas import UploadCreate


def create(context: Context, owner_id: str, body: UploadCreate) -> Upload:
    """Announces a file and reserves its size.

    Raises:
        TooLargeError: No file may be so large.
        QuotaExceededError: It does not fit the owner's quota.
    """
    settings = context.settings
    largest = max(settings.max_dataset_bytes, settings.max_model_bytes)
    if body.size_bytes > largest:
        raise TooLargeError(f"A file may have {largest} bytes.")
    upload_id = new_id("upl")
    try:
        make_part(settings.uploads_dir, upload_id)
        with context.database.write() as session:
            quota.reserve(session, owner_id, settings.max_stored_bytes, body.size_bytes)
            upload = Upload(
                id=upload_id,
                owner_id=owner_id,
                file_name=body.file_name,
                size_bytes=body.size_bytes,
                sha256=body.sha256,
                expires_at=db_now(settings.upload_expiry_s),
            )
            session.add(upload)
            session.flush()
            session.refresh(upload)
    except BaseException:
        # Should the row be there after all, nothing is lost: the file is empty, its id was never told.
        part_path(settings.uploads_dir, upload_id).unlink(missing_ok=True)
        raise
    return upload


def show(context: Context, owner_id: str, upload_id: str) -> Upload:
    """Tells where an upload goes on.

    Raises:
        NotFoundError: There is none.
        ExpiredError: Its time is over.
    """
    with context.database.read() as session:
        return repository.get_living(session, owner_id, upload_id)


def begin_part(context: Context, owner_id: str, upload_id: str, offset_bytes: int) -> Upload:
    """Checks that a part may begin.

    Raises:
        NotFoundError: There is no such upload.
        ExpiredError: Its time is over.
        OffsetMismatchError: It goes on elsewhere.
    """
    upload = show(context, owner_id, upload_id)
    repository.require_offset(upload, offset_bytes)
    return upload


async def append(context: Context, upload: Upload, blocks: AsyncGenerator[bytes]) -> Upload:
    """Writes a part block by block. Each block is kept once it is on disk, whatever becomes of the rest.

    Raises:
        OffsetMismatchError: Somebody else wrote in between.
        ExpiredError: The upload's time is over.
        NotFoundError: It was deleted or used.
    """
    async with aclosing(blocks):
        async for block in blocks:
            upload = await run_in_threadpool(_append_block, context, upload, block)
    return upload


def _append_block(context: Context, upload: Upload, block: bytes) -> Upload:
    """Writes behind the upload's end, then moves its end.

    The lock keeps two writers from the same bytes; the row says whose they are.
    """
    with locked_part(context.settings.uploads_dir, upload.id) as descriptor:
        begin_part(context, upload.owner_id, upload.id, upload.offset_bytes)
        write_block(descriptor, upload.offset_bytes, block)
        with context.database.write() as session:
            return repository.advance(session, upload, len(block))


def delete(context: Context, owner_id: str, upload_id: str) -> None:
    """Forgets an upload and its bytes.

    Raises:
        NotFoundError: There is none.
    """
    with context.database.write() as session:
        repository.get(session, owner_id, upload_id)
        repository.remove(session, owner_id, upload_id)
    part_path(context.settings.uploads_dir, upload_id).unlink(missing_ok=True)


def take(context: Context, owner_id: str, upload_id: str, max_bytes: int) -> ReceivedFile:
    """Reads a complete upload, which stays until a dataset or model uses it up.

    Raises:
        NotFoundError: There is none.
        ExpiredError: Its time is over.
        IncompleteUploadError: Parts are missing.
        TooLargeError: It is larger than `max_bytes`.
        ChecksumMismatchError: It is not what was announced; the upload is removed.
    """
    upload = show(context, owner_id, upload_id)
    if upload.offset_bytes < upload.size_bytes:
        raise IncompleteUploadError(
            f"{upload.offset_bytes} of {upload.size_bytes} bytes have come.", offset_bytes=upload.offset_bytes
        )
    if upload.size_bytes > max_bytes:
        raise TooLargeError(f"The file is larger than {max_bytes} bytes.")
    path = part_path(context.settings.uploads_dir, upload_id)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:  # used up in this moment
        raise NotFoundError.of("upload", upload_id) from None
    try:
        require_sha256(upload.sha256, sha256)
    except ChecksumMismatchError:
        delete(context, owner_id, upload_id)
        raise
    return ReceivedFile(path, upload.file_name, upload.size_bytes, sha256, upload_id)


def require_sha256(announced: str | None, found: str) -> None:
    """Compares what was announced with what came.

    Raises:
        ChecksumMismatchError: They differ.
    """
    if announced is not None and announced != found:
        raise ChecksumMismatchError(f"The SHA-256 of what arrived is {found}; announced was {announced}.")
