"""From a file that has arrived to a row that names it in the storage: both, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from fdkd_core.errors import InputError
from service import failpoints, quota
from service.bodies import ReceivedFile
from service.context import Context
from service.errors import NotFoundError, ServiceError
from service.uploads import repository as uploads


@contextmanager
def entering(context: Context, owner_id: str, file: ReceivedFile, key: str) -> Iterator[Session]:
    """One transaction that enters a file under a key, within the owner's quota.

    The bytes are in the storage before the row is, and the upload they came by is used up with it. When it is
    refused, they are removed at once. After any other error nobody knows whether the row is there, so they
    stay; without a row, the sweep removes them.

    Raises:
        QuotaExceededError: It does not fit.
        NotFoundError: The upload was used by somebody else in this moment.
    """
    try:
        with file.still_there():
            context.storage.adopt(key, file.path)
    except (OSError, NotFoundError):
        context.storage.delete(key.rpartition("/")[0])
        raise
    failpoints.reach("files.adopted")
    try:
        with context.database.write() as session:
            # An upload's bytes are reserved already.
            needed = 0 if file.upload_id is not None else file.size_bytes
            quota.reserve(session, owner_id, context.settings.max_stored_bytes, needed)
            if file.upload_id is not None:
                uploads.remove(session, owner_id, file.upload_id)
            yield session
    except (ServiceError, InputError):
        context.storage.delete(key.rpartition("/")[0])
        raise
    failpoints.reach("files.committed")
    file.path.unlink(missing_ok=True)
