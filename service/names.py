"""Names of datasets and models: what may be one, and when two are the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fdkd_core.errors import quote
from fdkd_core.spec.strict import Name
from service.errors import NameTakenError
from service.identifiers import is_id
from service.tables import Dataset, Model

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories without a glyph: control, format (bidi marks, soft hyphen), surrogates, separators."""
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks by category that are drawn as nothing."""


def name_key(name: str) -> str:
    """Maps names that look the same to one text: composed (NFC), case folded, composed again."""
    # Folding wants its input decomposed for a few Greek letters, and leaves sequences that are not composed.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _refuse_confusing(name: str) -> str:
    if any(unicodedata.category(char) in _INVISIBLE or char in _BLANK for char in name):
        raise PydanticCustomError("invalid_characters", "contains an invisible character")
    if name != name.strip():
        raise PydanticCustomError("invalid_characters", "begins or ends with a space")
    key = name_key(name)
    if name in (".", "..") or is_id(key, "ds") or is_id(key, "mdl"):
        raise PydanticCustomError("not_allowed", "is not a name; `.`, `..` and what looks like an id are not")
    return name


OwnName = Annotated[Name, AfterValidator(_refuse_confusing)]
"""A name that its owner gives: 1 to 128 characters, visible, not an id. It is stored as it was written."""


@contextmanager
def unique_name(
    session: Session, table: type[Dataset] | type[Model], owner_id: str, name: str
) -> Iterator[None]:
    """Flushes what was added within, and says so when the name is taken, and by what.

    The unique index decides, not a look beforehand: of two that come at once, one is refused.

    Raises:
        NameTakenError: The owner has one of this name already.
    """
    try:
        # A savepoint, so that one may still ask who has the name.
        with session.begin_nested():
            yield
            session.flush()
    except IntegrityError as error:
        if not _is_of_name(error, table):
            raise
        raise NameTakenError(_taken(session, table, owner_id, name)) from None


def _taken(session: Session, table: type[Dataset] | type[Model], owner_id: str, name: str) -> str:
    has_it = select(table.id, table.name, table.state).where(
        table.owner_id == owner_id, table.name_key == name_key(name), table.deleted_at.is_(None)
    )
    holder = session.execute(has_it).one_or_none()
    if holder is None:  # deleted in this moment
        return f"The name {quote(name)} was taken a moment ago."
    text = f"The name {quote(name)} is taken by {holder.id}"
    if holder.name != name:
        text += f", {quote(holder.name)}; names that differ only in case or Unicode form are the same"
    elif holder.state == "invalid":
        text += ", which is invalid: delete that, and the name is free"
    return f"{text}."


def _is_of_name(error: IntegrityError, table: type[Dataset] | type[Model]) -> bool:
    diagnostics = getattr(error.orig, "diag", None)
    if diagnostics is not None:
        return bool(diagnostics.constraint_name == f"uq_{table.__tablename__}_owner_id_name_key")
    # SQLite names the columns of an index, not the index.
    return f"{table.__tablename__}.owner_id, {table.__tablename__}.name_key" in str(error.orig)
