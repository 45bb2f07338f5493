"""Datasets in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session, defer

from service.datasets.schemas import DatasetQuery
from service.errors import NotFoundError
from service.identifiers import is_id
from service.jobs.states import TERMINAL
from service.names import name_key
from service.pagination import Page
from service.tables import Dataset, Job


def get(session: Session, owner_id: str, dataset_id: str, *, lock: bool = False) -> Dataset:
    """Looks up a dataset of an owner, by id.

    Args:
        session: Of `Database.write()` when `lock`.
        owner_id: Whose it must be.
        dataset_id: From a client.
        lock: Hold it until the transaction ends: nobody makes a job of it meanwhile.

    Raises:
        NotFoundError: There is none, or it was deleted.
    """
    if not is_id(dataset_id, "ds"):
        raise NotFoundError.of("dataset", dataset_id)
    return _get(session, owner_id, Dataset.id == dataset_id, dataset_id, lock=lock)


def resolve(session: Session, owner_id: str, reference: str, *, lock: bool = False) -> Dataset:
    """Looks up a dataset of an owner, by id or name.

    Raises:
        NotFoundError: There is none, or it was deleted.
    """
    if is_id(reference, "ds"):
        return get(session, owner_id, reference, lock=lock)
    return _get(session, owner_id, Dataset.name_key == name_key(reference), reference, lock=lock)


def list_page(session: Session, owner_id: str, page: Page[DatasetQuery]) -> Sequence[Dataset]:
    """Reads one page, newest first, without reports."""
    statement = (
        select(Dataset)
        .where(Dataset.owner_id == owner_id, Dataset.deleted_at.is_(None))
        .options(defer(Dataset.report, raiseload=True))
    )
    if page.query.state is not None:
        statement = statement.where(Dataset.state == page.query.state)
    if page.query.name is not None:
        statement = statement.where(Dataset.name_key == name_key(page.query.name))
    return session.scalars(page.slice(statement, Dataset.id)).all()


def is_used(session: Session, dataset_id: str) -> bool:
    """Whether a job that has not ended reads it."""
    return bool(
        session.scalar(select(exists().where(Job.dataset_id == dataset_id, Job.state.not_in(TERMINAL))))
    )


def _get(
    session: Session, owner_id: str, which: ColumnElement[bool], reference: str, *, lock: bool
) -> Dataset:
    statement = select(Dataset).where(Dataset.owner_id == owner_id, Dataset.deleted_at.is_(None), which)
    if lock:
        statement = statement.with_for_update()
    dataset = session.scalar(statement)
    if dataset is None:
        raise NotFoundError.of("dataset", reference)
    return dataset
