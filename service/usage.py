"""How much of the quota is used, and by what."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from service import quota
from service.auth import Ctx, Reader

router = APIRouter(prefix="/v1", tags=["usage"])


class StoredBytes(BaseModel):
    """What takes the room, in bytes."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    uploads: int
    """Files that were announced and not used up yet."""
    datasets: int
    models: int
    """Uploaded ones. Those that jobs made are among the files of their jobs."""
    jobs: int
    """Artifacts of jobs that have succeeded; deleting a job frees them."""


class Usage(BaseModel):
    """What the owner of the key keeps here."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    stored_bytes: int
    """Counts against the quota: the sum of `stored`."""
    max_stored_bytes: int
    """The quota; what would exceed it is refused with `quota_exceeded`."""
    stored: StoredBytes


@router.get("/usage")
def show_usage(context: Ctx, caller: Reader) -> Usage:
    """Shows how much is stored and how much may be."""
    with context.database.read() as session:
        found = quota.stored(session, caller.owner_id)
    return Usage(
        stored_bytes=found.total,
        max_stored_bytes=context.settings.max_stored_bytes,
        stored=StoredBytes(
            uploads=found.uploads, datasets=found.datasets, models=found.models, jobs=found.jobs
        ),
    )
