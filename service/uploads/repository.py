"""Uploads in the database."""

from __future__ import annotations

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from service.db import db_now
from service.errors import ExpiredError, NotFoundError, OffsetMismatchError
from service.identifiers import is_id
from service.tables import Upload


def get(session: Session, owner_id: str, upload_id: str) -> Upload:
    """Looks up an upload of an owner, expired or not.

    Raises:
        NotFoundError: There is none.
    """
    if not is_id(upload_id, "upl"):
        raise NotFoundError.of("upload", upload_id)
    upload = session.scalar(select(Upload).where(Upload.id == upload_id, Upload.owner_id == owner_id))
    if upload is None:
        raise NotFoundError.of("upload", upload_id)
    return upload


def get_living(session: Session, owner_id: str, upload_id: str) -> Upload:
    """Looks up an upload that can still be written or used.

    Raises:
        NotFoundError: There is none.
        ExpiredError: Its time is over.
    """
    upload = get(session, owner_id, upload_id)
    if session.scalar(select(Upload.expires_at <= db_now()).where(Upload.id == upload_id)):
        raise ExpiredError("The upload has expired; begin a new one.")
    return upload


def require_offset(upload: Upload, offset_bytes: int) -> None:
    """Refuses a part that does not begin where the upload ends.

    Raises:
        OffsetMismatchError: With `offset_bytes`, where to go on.
    """
    if upload.offset_bytes != offset_bytes:
        raise OffsetMismatchError(
            f"The part begins at byte {offset_bytes}; the upload goes on at byte {upload.offset_bytes}.",
            offset_bytes=upload.offset_bytes,
        )


def advance(session: Session, upload: Upload, length_bytes: int) -> Upload:
    """Moves the end of an upload, if it is still where it was when `upload` was read.

    Raises:
        OffsetMismatchError: Somebody else moved it.
        ExpiredError: Its time is over.
        NotFoundError: It was deleted or used.
    """
    moved = session.scalars(
        update(Upload)
        .where(
            Upload.id == upload.id,
            Upload.owner_id == upload.owner_id,
            Upload.offset_bytes == upload.offset_bytes,
            Upload.expires_at > db_now(),
        )
        .values(offset_bytes=upload.offset_bytes + length_bytes)
        .returning(Upload)
    ).one_or_none()
    if moved is None:
        require_offset(get_living(session, upload.owner_id, upload.id), upload.offset_bytes)
        raise NotFoundError.of("upload", upload.id)
    return moved


def remove(session: Session, owner_id: str, upload_id: str) -> None:
    """Removes an upload; of two that use it up at once, one does.

    Raises:
        NotFoundError: There is none any more.
    """
    removed = session.scalar(
        delete(Upload)
        .where(Upload.id == upload_id, Upload.owner_id == owner_id)
        .returning(Upload.id)
        .execution_options(synchronize_session=False)
    )
    if removed is None:
        raise NotFoundError.of("upload", upload_id)
