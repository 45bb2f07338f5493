"""HTTP of jobs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from service.answers import json_answer, tagged_answer
from service.auth import Ctx, Reader, Writer
from service.idempotency import KEY_PARAMETER, RequestKey
from service.jobs import repository, service
from service.jobs.documents import job_document, tag_of
from service.jobs.schemas import (
    HistoryQuery,
    JobBody,
    JobQuery,
    JobRead,
    LogRead,
    MetricQuery,
    MetricRead,
    NewJob,
    SubmitQuery,
    Validated,
)
from service.json_body import json_body, json_request
from service.pagination import Listing, Page, page_of, query_of, query_parameters

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobPage = Annotated[Page[JobQuery], Depends(page_of(JobQuery))]
History = Annotated[HistoryQuery, Depends(query_of(HistoryQuery))]


def _parameters(*descriptions: dict[str, Any]) -> dict[str, Any]:
    return {"parameters": [entry for description in descriptions for entry in description["parameters"]]}


@router.post(
    "",
    status_code=201,
    response_model=JobRead,
    responses={200: {"model": Validated, "description": "With `validate_only`: the job would be accepted."}},
    openapi_extra=json_request(NewJob)
    | _parameters(query_parameters(SubmitQuery), {"parameters": [KEY_PARAMETER]}),
)
def create_job(
    body: Annotated[JobBody, Depends(json_body(JobBody))],
    options: Annotated[SubmitQuery, Depends(query_of(SubmitQuery))],
    key: RequestKey,
    context: Ctx,
    caller: Writer,
) -> Response:
    """Checks the spec against its dataset and teacher, and queues the job."""
    if options.validate_only:
        return json_answer(service.validate(context, caller, body))
    return service.submit(context, caller, body, key).response()


@router.get("", response_model=Listing[JobRead], openapi_extra=query_parameters(JobQuery))
def list_jobs(page: JobPage, context: Ctx, caller: Reader) -> Response:
    """Lists jobs, newest first."""
    return json_answer(service.list_jobs(context, caller, page))


@router.get("/{job_id}", response_model=JobRead)
def show_job(job_id: str, request: Request, context: Ctx, caller: Reader) -> Response:
    """Shows a job. Its ETag changes with all that can be seen, so polling with If-None-Match is cheap."""
    job, models = service.show(context, caller, job_id)
    return tagged_answer(request, tag_of(job), job_document(job, models))


@router.post(
    "/{job_id}/cancel",
    response_model=JobRead,
    responses={202: {"model": JobRead, "description": "It runs, and stops at its next step."}},
)
def cancel_job(job_id: str, context: Ctx, caller: Writer) -> Response:
    """Cancels a job that waits, or asks a running one to stop; asking twice changes nothing."""
    status, document = service.cancel(context, caller, job_id)
    return json_answer(document, status)


@router.post(
    "/{job_id}/retry", status_code=201, response_model=JobRead, openapi_extra={"parameters": [KEY_PARAMETER]}
)
def retry_job(job_id: str, key: RequestKey, context: Ctx, caller: Writer) -> Response:
    """Queues a new job that does what a failed or cancelled one did, and goes on from its last checkpoint."""
    return service.retry(context, caller, job_id, key).response()


@router.get(
    "/{job_id}/metrics", response_model=Listing[MetricRead], openapi_extra=query_parameters(MetricQuery)
)
def list_metrics(
    job_id: str, query: Annotated[MetricQuery, Depends(query_of(MetricQuery))], context: Ctx, caller: Reader
) -> Response:
    """Lists the points of the training curves in the order in which they were made."""
    return json_answer(service.history(context, caller, job_id, query, repository.metrics))


@router.get("/{job_id}/logs", response_model=Listing[LogRead], openapi_extra=query_parameters(HistoryQuery))
def list_logs(job_id: str, query: History, context: Ctx, caller: Reader) -> Response:
    """Lists the lines that the trainer and its worker wrote."""
    return json_answer(service.history(context, caller, job_id, query, repository.logs))
