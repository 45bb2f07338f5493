"""What can be done with artifacts: look and download."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from service.artifacts import repository
from service.auth import Caller
from service.context import Context
from service.jobs.repository import require_owner
from service.tables import Artifact


def list_artifacts(context: Context, caller: Caller, job_id: str) -> dict[str, Any]:
    """Reads the artifacts of a job; see `schemas.ArtifactList`.

    Raises:
        NotFoundError: No such job.
    """
    with context.database.read() as session:
        require_owner(session, caller.owner_id, job_id)
        artifacts = repository.of_job(session, job_id)
    return {"data": [_document(artifact) for artifact in artifacts]}


def find(context: Context, caller: Caller, job_id: str, name: str) -> Artifact:
    """Looks up one artifact.

    Raises:
        NotFoundError: There is none of this name.
    """
    with context.database.read() as session:
        return repository.find(session, caller.owner_id, job_id, name)


def _document(artifact: Artifact) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "media_type": artifact.media_type,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "url": f"/v1/jobs/{artifact.job_id}/artifacts/{quote(artifact.name)}",
    }
