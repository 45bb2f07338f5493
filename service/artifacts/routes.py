"""HTTP of artifacts."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service.answers import accepts, json_answer
from service.artifacts import service
from service.artifacts.downloads import download
from service.artifacts.schemas import ArtifactList
from service.auth import Ctx, Reader
from service.errors import (
    NotAcceptableError,
    NotFoundError,
    PreconditionFailedError,
    RangeNotSatisfiableError,
    documented,
)

router = APIRouter(prefix="/v1/jobs", tags=["artifacts"])


@router.get("/{job_id}/artifacts", response_model=ArtifactList, responses=documented(NotFoundError))
def list_artifacts(job_id: str, context: Ctx, caller: Reader) -> Response:
    """Lists the files that a succeeded job made."""
    return json_answer(service.list_artifacts(context, caller, job_id))


@router.head("/{job_id}/artifacts/{name:path}", include_in_schema=False)
@router.get(
    "/{job_id}/artifacts/{name:path}",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "The range that was asked for."},
        304: {"description": "It is what If-None-Match names."},
        **documented(NotFoundError, NotAcceptableError, PreconditionFailedError, RangeNotSatisfiableError),
    },
)
def download_artifact(job_id: str, name: str, request: Request, context: Ctx, caller: Reader) -> Response:
    """Downloads a file, or one range of it. Its strong ETag is its SHA-256."""
    artifact = service.find(context, caller, job_id, name)
    if not accepts(request, artifact.media_type, "application/octet-stream"):
        raise NotAcceptableError(f"The artifact is {artifact.media_type}.")
    return download(request, context.storage, artifact)
