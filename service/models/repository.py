"""Models in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, defer

from service.errors import NotFoundError
from service.identifiers import is_id
from service.models.schemas import ModelQuery
from service.names import name_key
from service.pagination import Page
from service.tables import Model


def get(session: Session, owner_id: str, model_id: str, *, lock: bool = False) -> Model:
    """Looks up a model of an owner, by id.

    Args:
        session: Of `Database.write()` when `lock`.
        owner_id: Whose it must be.
        model_id: From a client.
        lock: Hold it until the transaction ends: no job is given it meanwhile.

    Raises:
        NotFoundError: There is none, or it was deleted.
    """
    if not is_id(model_id, "mdl"):
        raise NotFoundError.of("model", model_id)
    return _get(session, owner_id, Model.id == model_id, model_id, lock=lock)


def resolve(session: Session, owner_id: str, reference: str, *, lock: bool = False) -> Model:
    """Looks up a model of an owner, by id or name.

    Raises:
        NotFoundError: There is none, or it was deleted.
    """
    if is_id(reference, "mdl"):
        return get(session, owner_id, reference, lock=lock)
    return _get(session, owner_id, Model.name_key == name_key(reference), reference, lock=lock)


def list_page(session: Session, owner_id: str, page: Page[ModelQuery]) -> Sequence[Model]:
    """Reads one page, newest first, without reports."""
    query = page.query
    statement = (
        select(Model)
        .where(Model.owner_id == owner_id, Model.deleted_at.is_(None))
        .options(defer(Model.report, raiseload=True))
    )
    if query.state is not None:
        statement = statement.where(Model.state == query.state)
    if query.name is not None:
        statement = statement.where(Model.name_key == name_key(query.name))
    if query.source is not None:
        statement = statement.where(Model.source == query.source)
    if query.job_id is not None:
        statement = statement.where(Model.job_id == query.job_id)
    return session.scalars(page.slice(statement, Model.id)).all()


def _get(session: Session, owner_id: str, which: ColumnElement[bool], reference: str, *, lock: bool) -> Model:
    statement = select(Model).where(Model.owner_id == owner_id, Model.deleted_at.is_(None), which)
    if lock:
        statement = statement.with_for_update()
    model = session.scalar(statement)
    if model is None:
        raise NotFoundError.of("model", reference)
    return model
