"""`/v1/uploads`: files that come in parts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from service.auth import Ctx, Reader, Writer
from service.bodies import answering, read_blocks, require_plain
from service.errors import (
    ExpiredError,
    MalformedRequestError,
    OffsetMismatchError,
    QuotaExceededError,
    TooLargeError,
    documented,
)
from service.json_body import json_body, json_request
from service.tables import Upload
from service.uploads import service
from service.uploads.schemas import UploadCreate, UploadRead

MEDIA_TYPE = "application/offset+octet-stream"

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])


@router.post(
    "",
    status_code=201,
    response_model=UploadRead,
    openapi_extra=json_request(UploadCreate),
    responses=documented(QuotaExceededError, TooLargeError),
)
def create_upload(
    body: Annotated[UploadCreate, Depends(json_body(UploadCreate))],
    context: Ctx,
    caller: Writer,
    response: Response,
) -> Upload:
    """Announces a file that will come in parts, and reserves its size."""
    upload = service.create(context, caller.owner_id, body)
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return upload


@router.get("/{upload_id}", response_model=UploadRead, responses=documented(ExpiredError))
def show_upload(upload_id: str, context: Ctx, caller: Reader) -> Upload:
    """Tells how much has arrived: after a lost connection, go on from `offset_bytes`."""
    return service.show(context, caller.owner_id, upload_id)


@router.patch(
    "/{upload_id}",
    response_model=UploadRead,
    responses=documented(OffsetMismatchError, ExpiredError),
    openapi_extra={
        "parameters": [
            {
                "name": "Upload-Offset",
                "in": "header",
                "required": True,
                "description": "Where the part begins; it must be the upload's `offset_bytes`.",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
    },
)
async def append_to_upload(upload_id: str, request: Request, context: Ctx, caller: Writer) -> Upload:
    """Appends a part. What has arrived of it is kept, even if the connection is lost on the way."""
    async with answering(request):
        require_plain(request, MEDIA_TYPE)
        offset = read_offset(request)
        upload = await run_in_threadpool(service.begin_part, context, caller.owner_id, upload_id, offset)
        blocks = read_blocks(request, upload.size_bytes - offset)
        return await service.append(context, upload, blocks)


@router.delete("/{upload_id}", status_code=204)
def delete_upload(upload_id: str, context: Ctx, caller: Writer) -> None:
    """Forgets an upload and what has arrived of it."""
    service.delete(context, caller.owner_id, upload_id)


def read_offset(request: Request) -> int:
    """Reads the header `Upload-Offset`.

    Raises:
        MalformedRequestError: It is missing, repeated or no number.
    """
    values = request.headers.getlist("upload-offset")
    if len(values) != 1 or not (values[0].isascii() and values[0].isdecimal()) or len(values[0]) > 18:
        raise MalformedRequestError("The header Upload-Offset must say once where the part begins.")
    return int(values[0])
