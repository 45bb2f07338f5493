"""`/v1/datasets`: paired data."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from service.auth import Ctx, Reader, Writer
from service.datasets import service
from service.datasets.schemas import DatasetForm, DatasetFromUpload, DatasetQuery, DatasetRead, DatasetSummary
from service.errors import InUseError, InvalidCursorError, InvalidRequestError, documented
from service.form_requests import FILE_ERRORS, form_request, receive
from service.json_body import read_json
from service.multipart_form import is_form
from service.pagination import Listing, Page, page_of, query_parameters
from service.tables import Dataset

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


@router.post(
    "",
    status_code=201,
    response_model=DatasetRead,
    openapi_extra=form_request(DatasetForm, DatasetFromUpload),
    responses=documented(*FILE_ERRORS),
)
async def create_dataset(request: Request, response: Response, context: Ctx, caller: Writer) -> Dataset:
    """Stores a file, from a form or of a complete upload, and has it validated."""
    if is_form(request):
        limits = await run_in_threadpool(service.size_limits, context, caller.owner_id)
        async with receive(request, limits, DatasetForm) as (form, file):
            dataset = await run_in_threadpool(service.create, context, caller.owner_id, form, file)
    else:
        body = await read_json(request, DatasetFromUpload)
        dataset = await run_in_threadpool(service.create_from_upload, context, caller.owner_id, body)
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return dataset


@router.get(
    "",
    response_model=Listing[DatasetSummary],
    openapi_extra=query_parameters(DatasetQuery),
    responses=documented(InvalidCursorError, InvalidRequestError),
)
def list_datasets(
    context: Ctx, caller: Reader, page: Annotated[Page[DatasetQuery], Depends(page_of(DatasetQuery))]
) -> dict[str, Any]:
    """Lists datasets, newest first, without their reports."""
    rows, cursor = service.list_page(context, caller.owner_id, page)
    return {"data": rows, "has_more": cursor is not None, "next_cursor": cursor}


@router.get("/{dataset_id}", response_model=DatasetRead)
def show_dataset(dataset_id: str, context: Ctx, caller: Reader) -> Dataset:
    """Shows a dataset with its report."""
    return service.show(context, caller.owner_id, dataset_id)


@router.delete("/{dataset_id}", status_code=204, responses=documented(InUseError))
def delete_dataset(dataset_id: str, context: Ctx, caller: Writer) -> None:
    """Deletes a dataset that no queued or running job reads."""
    service.delete(context, caller.owner_id, dataset_id)
