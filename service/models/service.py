"""Models: uploaded and validated, or made by jobs; teachers of jobs."""

from __future__ import annotations

from collections.abc import Sequence

from fdkd_core.errors import InputError, Problem
from service import quota
from service.bodies import ReceivedFile, SizeLimits
from service.context import Context
from service.db import db_now
from service.errors import InUseError
from service.identifiers import new_id
from service.jobs.given_models import is_used
from service.models import repository
from service.models.file_format import ModelFormat, identify
from service.models.schemas import ModelForm, ModelFromUpload, ModelQuery, NewModel
from service.names import name_key, unique_name
from service.pagination import Page
from service.stored_files import entering
from service.tables import Model
from service.uploads import service as uploads

_FILE_NAMES: dict[ModelFormat, str] = {
    "safetensors": "weights.safetensors",
    "bundle": "bundle.zip",
    "onnx": "teacher.onnx",
}


def size_limits(context: Context, owner_id: str) -> SizeLimits:
    """How large a model of this owner may be now."""
    settings = context.settings
    with context.database.read() as session:
        room = settings.max_stored_bytes - quota.stored_bytes(session, owner_id)
    return SizeLimits(settings.max_model_bytes, room)


def create(context: Context, owner_id: str, form: ModelForm, file: ReceivedFile) -> Model:
    """Enters a file that came with the request.

    Raises:
        ChecksumMismatchError: It is not what was announced.
        UnsafeFormatError: Its format can run code.
        InputError: `unsupported_format`, `invalid_safetensors`, `invalid_onnx`, an architecture missing or
            too much.
        QuotaExceededError: It does not fit the owner's quota.
        NameTakenError: The owner has a model of this name.
    """
    uploads.require_sha256(form.sha256, file.sha256)
    return _enter(context, owner_id, form, file)


def create_from_upload(context: Context, owner_id: str, body: ModelFromUpload) -> Model:
    """Enters a file that came in parts; the upload is used up, unless something is refused.

    Raises:
        NotFoundError: There is no such upload.
        ExpiredError: It is too old.
        IncompleteUploadError: Parts are missing.
        TooLargeError: It is larger than a model may be.
        ChecksumMismatchError: It is not what was announced; the upload is removed.
        UnsafeFormatError: Its format can run code.
        InputError: See `create`.
        NameTakenError: The owner has a model of this name.
    """
    file = uploads.take(context, owner_id, body.upload_id, context.settings.max_model_bytes)
    return _enter(context, owner_id, body, file)


def list_page(context: Context, owner_id: str, page: Page[ModelQuery]) -> tuple[Sequence[Model], str | None]:
    """Reads one page, newest first and without reports, and the cursor of the next."""
    with context.database.read() as session:
        return page.cut(repository.list_page(session, owner_id, page))


def show(context: Context, owner_id: str, model_id: str) -> Model:
    """Reads one.

    Raises:
        NotFoundError: There is none.
    """
    with context.database.read() as session:
        return repository.get(session, owner_id, model_id)


def delete(context: Context, owner_id: str, model_id: str) -> None:
    """Deletes one; its name is free again. The files of a job's model stay: they are the job's artifacts.

    Raises:
        NotFoundError: There is none.
        InUseError: A job that has not ended is given it.
    """
    with context.database.write() as session:
        model = repository.get(session, owner_id, model_id, lock=True)
        if is_used(session, model.id):
            raise InUseError("A job that is queued or running is taught by the model, or begins with it.")
        model.deleted_at = db_now()
    if model.source == "upload":
        context.storage.delete(f"models/{model_id}")


def _enter(context: Context, owner_id: str, body: NewModel, file: ReceivedFile) -> Model:
    with file.still_there():
        found = identify(file.path, file.file_name)
    _check_architecture(body, found)
    model_id = new_id("mdl")
    key = f"models/{model_id}/{_FILE_NAMES[found]}"
    with entering(context, owner_id, file, key) as session:
        model = Model(
            id=model_id,
            owner_id=owner_id,
            name=body.name,
            name_key=name_key(body.name),
            source="upload",
            format=found,
            architecture=body.architecture.model_dump(mode="json") if body.architecture is not None else None,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            storage_key=key,
        )
        with unique_name(session, Model, owner_id, body.name):
            session.add(model)
        session.refresh(model)
    context.wake_up.validation("model", model_id)
    return model


def _check_architecture(body: NewModel, found: ModelFormat) -> None:
    if found == "safetensors" and body.architecture is None:
        raise InputError(
            Problem("missing_field", "safetensors holds weights alone: say what they fit", "/architecture")
        )
    if found != "safetensors" and body.architecture is not None:
        what = "a bundle says itself what its weights fit"
        if found == "onnx":
            what = "an ONNX file holds its network itself"
        raise InputError(Problem("conflicting_fields", what, "/architecture"))
