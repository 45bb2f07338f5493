"""Rows as clients read them; `schemas` documents the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row

from service.jobs.states import TERMINAL


def job_document(job: Row[Any], models: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A job, with the models it made when it has succeeded; see `schemas.JobRead`."""
    return {
        "id": job.id,
        "kind": job.kind,
        "name": job.name,
        "state": job.state,
        "cancel_requested": job.cancel_requested_at is not None,
        "spec": job.spec,
        "metadata": job.labels,
        "dataset_id": job.dataset_id,
        **models_document(job.given or {}),
        "retry_of": job.retry_of,
        "parent_id": job.parent_id,
        "is_blocked": job.waits_for is not None and job.state not in TERMINAL,
        "children": job.children,
        "progress": job.progress,
        "result": job.result,
        "error": job.error,
        "attempt": job.attempt,
        "models": models,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def models_document(given: Mapping[str, str]) -> dict[str, Any]:
    """The models that a job is given, in one order whatever the database's."""
    return {"teacher_model_id": given.get("teacher"), "given_models": dict(sorted(given.items()))}


def list_document(data: list[Any], next_cursor: str | None) -> dict[str, Any]:
    """A page of a list; see `pagination.Listing`."""
    return {"data": data, "has_more": next_cursor is not None, "next_cursor": next_cursor}


def history_document(rows: Sequence[Row[Any]], limit: int) -> dict[str, Any]:
    """A page of events, metrics or log lines, whose cursor is the id of its last row."""
    shown = rows[:limit]
    return list_document([row._asdict() for row in shown], str(shown[-1].id) if len(rows) > limit else None)


def tag_of(job: Row[Any]) -> str:
    """The strong ETag of a job: its version grows with everything that `job_document` shows."""
    return f'"{job.version}"'
