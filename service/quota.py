"""How many bytes an owner may keep, decided in the transaction that enters them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.artifacts.archives import SUFFIX as ARCHIVE_SUFFIX
from service.errors import QuotaExceededError
from service.tables import Artifact, Dataset, Job, Model, Upload


def reserve(session: Session, owner_id: str, limit_bytes: int, size_bytes: int) -> None:
    """Makes sure that `size_bytes` more fit; call it before anything else in the transaction that adds them.

    Until the transaction ends, others of the same owner wait here, so what it found stays true.

    Raises:
        QuotaExceededError: They do not fit.
    """
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer anyway
        number = int.from_bytes(hashlib.sha256(f"quota:{owner_id}".encode()).digest()[:8], signed=True)
        session.execute(select(func.pg_advisory_xact_lock(number)))
    room = limit_bytes - stored_bytes(session, owner_id)
    if size_bytes > room:
        raise QuotaExceededError(
            f"It needs {size_bytes} bytes; your quota of {limit_bytes} bytes leaves {max(room, 0)}. "
            "GET /v1/usage says what takes the room; datasets, models and ended jobs can be deleted."
        )


@dataclass(frozen=True)
class Stored:
    """What an owner keeps, in bytes."""

    uploads: int
    """Not used up yet, as announced."""
    datasets: int
    models: int
    """Uploaded ones; those that jobs made lie among their artifacts and are not counted twice."""
    jobs: int
    """Their artifacts, but archives whose members are counted already."""

    @property
    def total(self) -> int:
        """What counts against the quota."""
        return self.uploads + self.datasets + self.models + self.jobs


def stored_bytes(session: Session, owner_id: str) -> int:
    """Sums up what an owner keeps, in bytes."""
    return stored(session, owner_id).total


def stored(session: Session, owner_id: str) -> Stored:
    """Sums up what an owner keeps, by what it is."""
    sums = (
        select(func.sum(Upload.size_bytes)).where(Upload.owner_id == owner_id),
        select(func.sum(Dataset.size_bytes)).where(
            Dataset.owner_id == owner_id, Dataset.deleted_at.is_(None)
        ),
        select(func.sum(Model.size_bytes)).where(
            Model.owner_id == owner_id, Model.deleted_at.is_(None), Model.source == "upload"
        ),
        select(func.sum(Artifact.size_bytes))
        .join(Job)
        .where(Job.owner_id == owner_id, Artifact.storage_key.not_like(f"%{ARCHIVE_SUFFIX}")),
    )
    # One statement: a file that moves on from the uploads is counted once.
    row = session.execute(select(*(func.coalesce(s.scalar_subquery(), 0) for s in sums))).one()
    return Stored(*map(int, row))
