"""What can be done with jobs. Each function is one transaction; what it sends, it sends when that is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from fdkd_core.spec import load_spec
from fdkd_core.spec.trainings import student_trainings, teacher_trainings
from service import failpoints, idempotency
from service.auth import Caller
from service.context import Context
from service.db import db_now
from service.errors import AlreadyRetriedError, IsChildError, NotTerminalError, TerminalStateError
from service.idempotency import Intent, Made
from service.jobs import comparisons, families, repository, transitions
from service.jobs.documents import history_document, job_document, list_document, models_document
from service.jobs.given_models import given_to
from service.jobs.gpus import check_gpus, needed_gpus
from service.jobs.inputs import find_inputs, hold_inputs
from service.jobs.schemas import HistoryQuery, JobBody, JobQuery
from service.jobs.states import TERMINAL, JobEventType, JobState
from service.jobs.submission import fit_to_inputs, read_submission, student_parameters
from service.jobs.waiting import check_room, count_waiting
from service.pagination import Page
from service.tables import Job

H = TypeVar("H", bound=HistoryQuery)


def submit(context: Context, caller: Caller, body: JobBody, key: str | None) -> Made:
    """Creates a job, a comparison with all its children, or finds the one that this request created before.

    Raises:
        InputError: The spec, or how it fits its inputs.
        NotFoundError: No such dataset or model.
        NotReadyError: One of them cannot be used yet, or any more.
        QueueFullError: Too many jobs wait.
        ConflictError, InvalidRequestError: See `idempotency.recall`.
    """
    posted = read_submission(body)
    limit = context.settings.max_queued_jobs
    intent = Intent.of(caller.owner_id, "POST /v1/jobs", key, body.model_dump()) if key is not None else None

    def make(session: Session) -> Row[Any]:
        inputs = find_inputs(session, caller.owner_id, posted.spec, max_waiting=limit, hold=True)
        submission = fit_to_inputs(posted, inputs)
        check_gpus(session, submission.spec, context.settings.lease_s)
        check_room(session, caller.owner_id, inputs.num_waiting, limit)
        return repository.insert_job(
            session,
            comparisons.plan(submission.spec, inputs.given),
            given=inputs.given,
            owner_id=caller.owner_id,
            kind=submission.spec.kind,
            name=submission.spec.name,
            spec=submission.document,
            labels=submission.labels,
            dataset_id=inputs.dataset.id,
            gpus=needed_gpus(submission.spec),
        )

    return _make_once(context, intent, make)


def validate(context: Context, caller: Caller, body: JobBody) -> dict[str, Any]:
    """Makes every check of `submit` and writes nothing; see `schemas.Validated`.

    Raises:
        Exception: What `submit` would raise now.
    """
    posted = read_submission(body)
    limit = context.settings.max_queued_jobs
    with context.database.read() as session:
        inputs = find_inputs(session, caller.owner_id, posted.spec, max_waiting=limit, hold=False)
        submission = fit_to_inputs(posted, inputs)
        check_gpus(session, submission.spec, context.settings.lease_s)
        check_room(session, caller.owner_id, inputs.num_waiting, limit)
    return {
        "valid": True,
        "spec": submission.document,
        "dataset_id": inputs.dataset.id,
        **models_document(inputs.given),
        "student_parameters": student_parameters(submission, inputs),
        "student_trainings": student_trainings(submission.spec),
        "teacher_trainings": teacher_trainings(submission.spec),
        "children": comparisons.names(submission.spec),
        "warnings": inputs.dataset.report["warnings"],
    }


def retry(context: Context, caller: Caller, job_id: str, key: str | None) -> Made:
    """Creates a job that does what a failed or cancelled one did, and goes on from its last checkpoint.

    A comparison is repeated without the children that had succeeded: it takes over what they found. One that
    has succeeded without some of its arms can be repeated too. A child is repeated with its comparison, whose
    table is to have it, and so are the others that did not succeed; what is returned is the new child.

    Raises:
        NotFoundError: No such job.
        IsChildError: It is part of a comparison that has not ended yet.
        NotTerminalError: It has not ended yet.
        TerminalStateError: It has succeeded; there is nothing to try again.
        AlreadyRetriedError: A job that repeats it has not ended yet.
        NotReadyError: Its dataset or a model was deleted.
        InputError: No worker that is there has the GPUs that it asks for.
        QueueFullError: Too many jobs wait.
        ConflictError, InvalidRequestError: See `idempotency.recall`.
    """
    repository.require_id(job_id)
    limit = context.settings.max_queued_jobs
    intent = Intent.of(caller.owner_id, f"POST /v1/jobs/{job_id}/retry", key, {}) if key is not None else None

    def make(session: Session) -> Row[Any]:
        old = repository.lock(session, caller.owner_id, job_id)
        _check_repeatable(session, old)
        whole = old if old.parent_id is None else session.get_one(Job, old.parent_id)
        _check_not_repeated(session, whole)
        family = comparisons.repeat(session, whole)
        given = given_to(session, whole.id)
        if family is not None and not family.children:
            # What is left is the conclusion, which reads neither data nor models.
            check_room(session, caller.owner_id, count_waiting(session, caller.owner_id, limit), limit)
        else:
            held = given if family is None else family.given
            inputs = hold_inputs(session, caller.owner_id, whole.dataset_id, held, max_waiting=limit)
            check_gpus(session, load_spec(whole.spec), context.settings.lease_s)
            check_room(session, caller.owner_id, inputs.num_waiting, limit)
        made = repository.insert_job(
            session,
            family,
            given=given,
            owner_id=caller.owner_id,
            kind=whole.kind,
            name=whole.name,
            spec=whole.spec,
            labels=whole.labels,
            dataset_id=whole.dataset_id,
            retry_of=whole.id,
            work_key=whole.work_key,
            gpus=whole.gpus,
        )
        return made if whole is old else repository.show_child(session, caller.owner_id, made.id, old.name)

    return _make_once(context, intent, make)


def cancel(context: Context, caller: Caller, job_id: str) -> tuple[int, dict[str, Any]]:
    """Cancels a queued job; asks for the cancellation of a running one; does both to a comparison's children.

    Returns:
        HTTP status and job: 202 when a wish was noted that was not there before, else 200.

    Raises:
        NotFoundError: No such job.
        TerminalStateError: It has succeeded or failed.
    """
    with context.database.write() as session:
        job = repository.lock(session, caller.owner_id, job_id)
        if job.state in (JobState.SUCCEEDED, JobState.FAILED):
            raise TerminalStateError(f"The job has {job.state} already.", state=job.state)
        is_first = job.state not in TERMINAL and job.cancel_requested_at is None
        if is_first and job.children is not None and job.waits_for is not None:
            families.cancel(session, job_id)
        elif job.state == JobState.QUEUED:
            transitions.apply(session, job_id, JobEventType.CANCELLED, cancel_requested_at=db_now())
        elif is_first:
            transitions.wish_cancellation(session, job_id)
        found = repository.show(session, caller.owner_id, job_id)
    if found.parent_id is not None:
        _ring_for(context, found.parent_id)
    return 202 if is_first and found.state == JobState.RUNNING else 200, job_document(found)


def show(context: Context, caller: Caller, job_id: str) -> tuple[Row[Any], dict[str, Any] | None]:
    """Reads a job, and the ids of the models it made when it has succeeded.

    Raises:
        NotFoundError: No such job.
    """
    with context.database.read() as session:
        job = repository.show(session, caller.owner_id, job_id)
        return job, repository.models_of(session, [job]).get(job.id)


def list_jobs(context: Context, caller: Caller, page: Page[JobQuery]) -> dict[str, Any]:
    """Reads a page of jobs, newest first."""
    with context.database.read() as session:
        jobs, next_cursor = repository.page_of_jobs(session, caller.owner_id, page)
        models = repository.models_of(session, jobs)
    return list_document([job_document(job, models.get(job.id)) for job in jobs], next_cursor)


def history(
    context: Context,
    caller: Caller,
    job_id: str,
    query: H,
    read: Callable[[Session, str, H], Sequence[Row[Any]]],
) -> dict[str, Any]:
    """Reads a page of a job's events, metrics or log lines, oldest first.

    Args:
        context: Of the process.
        caller: Whose job it must be.
        job_id: The job.
        query: What part.
        read: `repository.events`, `metrics` or `logs`.

    Raises:
        NotFoundError: No such job.
    """
    with context.database.read() as session:
        repository.require_owner(session, caller.owner_id, job_id)
        return history_document(read(session, job_id, query), query.limit)


def _make_once(context: Context, intent: Intent | None, make: Callable[[Session], Row[Any]]) -> Made:
    """Makes a job in one transaction, or finds the answer to the same intent, and tells workers of it."""
    job: Row[Any] | None = None
    with context.database.write() as session:
        made = idempotency.recall(session, intent) if intent is not None else None
        if made is None:
            job = make(session)
            made = Made.at(f"/v1/jobs/{job.id}", job_document(job))
            if intent is not None:
                idempotency.remember(session, intent, made, context.settings.idempotency_expiry_s)
        failpoints.reach("jobs.before_commit")
    failpoints.reach("jobs.after_commit")
    if job is not None:
        family_of = job.id if job.children is not None else job.parent_id
        _ring_for(context, family_of) if family_of is not None else context.wake_up.job(job.id)
    return made


def _ring_for(context: Context, parent_id: str) -> None:
    """Tells workers of all that may be taken of a family now."""
    if not context.settings.broker_url:
        return
    with context.database.read() as session:
        ready = families.ready_members(session, parent_id)
    for job_id in ready:
        context.wake_up.job(job_id)


def _check_repeatable(session: Session, job: Job) -> None:
    if job.parent_id is not None:
        state = session.scalar(select(Job.state).where(Job.id == job.parent_id))
        if state not in TERMINAL:
            detail = f"The job is part of {job.parent_id}, which is {state}; retry it when that has ended."
            raise IsChildError(detail, parent_id=job.parent_id)
    if job.state not in TERMINAL:
        raise NotTerminalError(
            f"The job is {job.state}; only one that has ended is retried.", state=job.state
        )
    if job.state == JobState.SUCCEEDED and not comparisons.has_failed_children(job):
        raise TerminalStateError("The job has succeeded; there is nothing to retry.", state=job.state)


def _check_not_repeated(session: Session, job: Job) -> None:
    """Whoever asks twice has forgotten, or was not answered: the same work twice is of no use to anybody."""
    by = session.scalar(select(Job.id).where(Job.retry_of == job.id, Job.state.not_in(TERMINAL)).limit(1))
    if by is not None:
        raise AlreadyRetriedError(f"{by} repeats {job.id} and has not ended yet.", retried_by=by)
