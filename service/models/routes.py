"""`/v1/models`: weights that may teach, or be begun with."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from service.auth import Ctx, Reader, Writer
from service.errors import (
    InUseError,
    InvalidCursorError,
    InvalidRequestError,
    UnsafeFormatError,
    documented,
)
from service.form_requests import FILE_ERRORS, form_request, receive
from service.json_body import read_json
from service.models import service
from service.models.file_format import refuse_name
from service.models.schemas import ModelForm, ModelFromUpload, ModelQuery, ModelRead, ModelSummary
from service.multipart_form import is_form
from service.pagination import Listing, Page, page_of, query_parameters
from service.tables import Model

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.post(
    "",
    status_code=201,
    response_model=ModelRead,
    openapi_extra=form_request(ModelForm, ModelFromUpload),
    responses=documented(*FILE_ERRORS, UnsafeFormatError),
)
async def create_model(request: Request, response: Response, context: Ctx, caller: Writer) -> Model:
    """Stores weights or a bundle, from a form or of a complete upload, and has them validated."""
    if is_form(request):
        limits = await run_in_threadpool(service.size_limits, context, caller.owner_id)
        arriving = receive(request, limits, ModelForm, json_fields=("architecture",), check_name=refuse_name)
        async with arriving as (form, file):
            model = await run_in_threadpool(service.create, context, caller.owner_id, form, file)
    else:
        body = await read_json(request, ModelFromUpload)
        model = await run_in_threadpool(service.create_from_upload, context, caller.owner_id, body)
    response.headers["Location"] = f"/v1/models/{model.id}"
    return model


@router.get(
    "",
    response_model=Listing[ModelSummary],
    openapi_extra=query_parameters(ModelQuery),
    responses=documented(InvalidCursorError, InvalidRequestError),
)
def list_models(
    context: Ctx, caller: Reader, page: Annotated[Page[ModelQuery], Depends(page_of(ModelQuery))]
) -> dict[str, Any]:
    """Lists models, newest first, without their reports."""
    rows, cursor = service.list_page(context, caller.owner_id, page)
    return {"data": rows, "has_more": cursor is not None, "next_cursor": cursor}


@router.get("/{model_id}", response_model=ModelRead)
def show_model(model_id: str, context: Ctx, caller: Reader) -> Model:
    """Shows a model with its report."""
    return service.show(context, caller.owner_id, model_id)


@router.delete("/{model_id}", status_code=204, responses=documented(InUseError))
def delete_model(model_id: str, context: Ctx, caller: Writer) -> None:
    """Deletes a model that no queued or running job is given."""
    service.delete(context, caller.owner_id, model_id)
