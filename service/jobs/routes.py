"""HTTP of jobs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from service.answers import accepts, json_answer, names_type, tagged_answer
from service.auth import Ctx, Reader, Writer
from service.errors import (
    AlreadyRetriedError,
    IdempotencyInProgressError,
    IdempotencyKeyReusedError,
    InUseError,
    InvalidCursorError,
    InvalidIdempotencyKeyError,
    InvalidRequestError,
    IsChildError,
    NotAcceptableError,
    NotFoundError,
    NotReadyError,
    NotTerminalError,
    QueueFullError,
    TerminalStateError,
    TooManyStreamsError,
    documented,
)
from service.idempotency import KEY_PARAMETER, RequestKey
from service.jobs import deletion, repository, service, stream
from service.jobs.documents import job_document, tag_of
from service.jobs.schemas import (
    DeleteQuery,
    EventRead,
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
_ONCE = (InvalidIdempotencyKeyError, IdempotencyInProgressError, IdempotencyKeyReusedError)
History = Annotated[HistoryQuery, Depends(query_of(HistoryQuery))]


LAST_EVENT_ID: dict[str, Any] = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "Of a stream that is connected again: the last event that was seen.",
    "schema": {"type": "integer"},
}


def _parameters(*descriptions: dict[str, Any]) -> dict[str, Any]:
    return {"parameters": [entry for description in descriptions for entry in description["parameters"]]}


@router.post(
    "",
    status_code=201,
    response_model=JobRead,
    responses={
        200: {"model": Validated, "description": "With `validate_only`: the job would be accepted."},
        **documented(NotFoundError, NotReadyError, QueueFullError, *_ONCE),
    },
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
    """Checks the spec against its dataset and teacher, and queues the job; a comparison with its children."""
    if options.validate_only:
        return json_answer(service.validate(context, caller, body))
    return service.submit(context, caller, body, key).response()


@router.get(
    "",
    response_model=Listing[JobRead],
    responses=documented(InvalidCursorError, InvalidRequestError),
    openapi_extra=query_parameters(JobQuery),
)
def list_jobs(page: JobPage, context: Ctx, caller: Reader) -> Response:
    """Lists jobs, newest first; those that a comparison is made of only when asked for."""
    return json_answer(service.list_jobs(context, caller, page))


@router.get(
    "/{job_id}",
    response_model=JobRead,
    responses={
        304: {"description": "It is as it was: the ETag is in If-None-Match."},
        **documented(NotFoundError),
    },
)
def show_job(job_id: str, request: Request, context: Ctx, caller: Reader) -> Response:
    """Shows a job. Its ETag changes with all that can be seen, so polling with If-None-Match is cheap."""
    job, models = service.show(context, caller, job_id)
    return tagged_answer(request, tag_of(job), job_document(job, models))


@router.post(
    "/{job_id}/cancel",
    response_model=JobRead,
    responses={
        202: {"model": JobRead, "description": "It runs, and stops at its next step."},
        **documented(NotFoundError, TerminalStateError),
    },
)
def cancel_job(job_id: str, context: Ctx, caller: Writer) -> Response:
    """Cancels a job that waits, or asks a running one to stop; asking twice changes nothing.

    Of a comparison all jobs are cancelled. One of its arms may be cancelled by itself: the comparison then
    goes on without it, unless it is the teacher or the control without one.
    """
    status, document = service.cancel(context, caller, job_id)
    return json_answer(document, status)


@router.post(
    "/{job_id}/retry",
    status_code=201,
    response_model=JobRead,
    responses=documented(
        NotFoundError,
        IsChildError,
        AlreadyRetriedError,
        NotReadyError,
        NotTerminalError,
        TerminalStateError,
        QueueFullError,
        *_ONCE,
    ),
    openapi_extra={"parameters": [KEY_PARAMETER]},
)
def retry_job(job_id: str, key: RequestKey, context: Ctx, caller: Writer) -> Response:
    """Queues a new job that does what a failed or cancelled one did, and goes on from its last checkpoint.

    A comparison is repeated without the jobs of it that had succeeded; it may have succeeded itself, without
    some of its arms. One of its jobs is repeated with the comparison, once that has ended, as are the others
    that did not succeed; the answer is the new one in its place, part of a new comparison.
    """
    return service.retry(context, caller, job_id, key).response()


@router.delete(
    "/{job_id}",
    status_code=204,
    responses=documented(NotFoundError, IsChildError, NotTerminalError, InUseError, InvalidRequestError),
    openapi_extra=query_parameters(DeleteQuery),
)
def delete_job(
    job_id: str,
    query: Annotated[DeleteQuery, Depends(query_of(DeleteQuery))],
    context: Ctx,
    caller: Writer,
) -> None:
    """Deletes a job that has ended with its history and artifacts, a comparison with all its jobs.

    Refused while a repetition needs it, or the models that it made are there or used.
    """
    deletion.delete(context, caller, job_id, with_models=query.with_models)


@router.get(
    "/{job_id}/events",
    response_model=Listing[EventRead],
    responses={
        200: {"content": {stream.MEDIA_TYPE: {"schema": {"type": "string"}}}},
        204: {"description": "Stream: the job has ended and everything was told."},
        **documented(NotFoundError, NotAcceptableError, TooManyStreamsError),
    },
    openapi_extra=_parameters(query_parameters(HistoryQuery), {"parameters": [LAST_EVENT_ID]}),
)
def list_events(job_id: str, request: Request, query: History, context: Ctx, caller: Reader) -> Response:
    """Lists what happened to a job, oldest first.

    With `Accept: text/event-stream` it is told as it happens: events with their ids (`Last-Event-ID` or
    `after` go on behind one), `progress` without, `end` when the job has ended.
    """
    if names_type(request, stream.MEDIA_TYPE):
        return stream.open_stream(context, caller, job_id, stream.last_seen(request, query))
    if not accepts(request, "application/json"):
        raise NotAcceptableError("Events are application/json or text/event-stream.")
    return json_answer(service.history(context, caller, job_id, query, repository.events))


@router.get(
    "/{job_id}/metrics",
    response_model=Listing[MetricRead],
    responses=documented(NotFoundError, InvalidRequestError),
    openapi_extra=query_parameters(MetricQuery),
)
def list_metrics(
    job_id: str, query: Annotated[MetricQuery, Depends(query_of(MetricQuery))], context: Ctx, caller: Reader
) -> Response:
    """Lists the points of the training curves in the order in which they were made."""
    return json_answer(service.history(context, caller, job_id, query, repository.metrics))


@router.get(
    "/{job_id}/logs",
    response_model=Listing[LogRead],
    responses=documented(NotFoundError, InvalidRequestError),
    openapi_extra=query_parameters(HistoryQuery),
)
def list_logs(job_id: str, query: History, context: Ctx, caller: Reader) -> Response:
    """Lists the lines that the trainer and its worker wrote."""
    return json_answer(service.history(context, caller, job_id, query, repository.logs))
