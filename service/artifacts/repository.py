"""Queries about artifacts. A row appears in the transaction that makes its job succeed, never before."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from fdkd_core.errors import quote
from service.errors import NotFoundError
from service.identifiers import is_id
from service.jobs.states import JobState
from service.tables import Artifact, Job

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_MAX_NAME = 255


def of_job(session: Session, job_id: str) -> Sequence[Artifact]:
    """Reads the artifacts of a job, by name."""
    return session.scalars(_listed(job_id).order_by(Artifact.name)).all()


def find(session: Session, owner_id: str, job_id: str, name: str) -> Artifact:
    """Looks up one artifact.

    Raises:
        NotFoundError: There is no such artifact, or its job is another owner's.
    """
    missing = f"There is no artifact {quote(name)} of job {quote(job_id)}, or it is not yours."
    if not is_id(job_id, "job") or len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise NotFoundError(missing)
    statement = _listed(job_id).where(Artifact.name == name, Job.owner_id == owner_id)
    artifact = session.scalars(statement).one_or_none()
    if artifact is None:
        raise NotFoundError(missing)
    return artifact


def _listed(job_id: str) -> Select[Artifact]:
    return (
        select(Artifact)
        .join(Job, Job.id == Artifact.job_id)
        .where(Artifact.job_id == job_id, Job.state == JobState.SUCCEEDED)
    )
