"""Datasets: entered as files, validated by workers, used by jobs."""

from __future__ import annotations

from collections.abc import Sequence

from service import quota
from service.bodies import ReceivedFile, SizeLimits
from service.context import Context
from service.datasets import repository
from service.datasets.file_format import identify
from service.datasets.schemas import DatasetForm, DatasetFromUpload, DatasetQuery
from service.db import db_now
from service.errors import InUseError
from service.identifiers import new_id
from service.names import name_key, unique_name
from service.pagination import Page
from service.stored_files import entering
from service.tables import Dataset
from service.uploads import service as uploads


def size_limits(context: Context, owner_id: str) -> SizeLimits:
    """How large a dataset of this owner may be now."""
    settings = context.settings
    with context.database.read() as session:
        room = settings.max_stored_bytes - quota.stored_bytes(session, owner_id)
    return SizeLimits(settings.max_dataset_bytes, room)


def create(context: Context, owner_id: str, form: DatasetForm, file: ReceivedFile) -> Dataset:
    """Enters a file that came with the request.

    Raises:
        ChecksumMismatchError: It is not what was announced.
        InputError: `unsupported_format`.
        QuotaExceededError: It does not fit the owner's quota.
        NameTakenError: The owner has a dataset of this name.
    """
    uploads.require_sha256(form.sha256, file.sha256)
    return _enter(context, owner_id, form.name, file)


def create_from_upload(context: Context, owner_id: str, body: DatasetFromUpload) -> Dataset:
    """Enters a file that came in parts; the upload is used up, unless something is refused.

    Raises:
        NotFoundError: There is no such upload.
        ExpiredError: It is too old.
        IncompleteUploadError: Parts are missing.
        TooLargeError: It is larger than a dataset may be.
        ChecksumMismatchError: It is not what was announced; the upload is removed.
        InputError: `unsupported_format`.
        NameTakenError: The owner has a dataset of this name.
    """
    file = uploads.take(context, owner_id, body.upload_id, context.settings.max_dataset_bytes)
    return _enter(context, owner_id, body.name, file)


def list_page(
    context: Context, owner_id: str, page: Page[DatasetQuery]
) -> tuple[Sequence[Dataset], str | None]:
    """Reads one page, newest first and without reports, and the cursor of the next."""
    with context.database.read() as session:
        return page.cut(repository.list_page(session, owner_id, page))


def show(context: Context, owner_id: str, dataset_id: str) -> Dataset:
    """Reads one.

    Raises:
        NotFoundError: There is none.
    """
    with context.database.read() as session:
        return repository.get(session, owner_id, dataset_id)


def delete(context: Context, owner_id: str, dataset_id: str) -> None:
    """Deletes one; its name is free again.

    Raises:
        NotFoundError: There is none.
        InUseError: A job that has not ended reads it.
    """
    with context.database.write() as session:
        dataset = repository.get(session, owner_id, dataset_id, lock=True)
        if repository.is_used(session, dataset.id):
            raise InUseError("A job that is queued or running reads the dataset.")
        dataset.deleted_at = db_now()
    context.storage.delete(f"datasets/{dataset_id}")


def _enter(context: Context, owner_id: str, name: str, file: ReceivedFile) -> Dataset:
    with file.still_there():
        found = identify(file.path, file.file_name)
    dataset_id = new_id("ds")
    key = f"datasets/{dataset_id}/{dataset_id}.{found}"
    with entering(context, owner_id, file, key) as session:
        dataset = Dataset(
            id=dataset_id,
            owner_id=owner_id,
            name=name,
            name_key=name_key(name),
            format=found,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            storage_key=key,
        )
        with unique_name(session, Dataset, owner_id, name):
            session.add(dataset)
        session.refresh(dataset)
    context.wake_up.validation("dataset", dataset_id)
    return dataset
