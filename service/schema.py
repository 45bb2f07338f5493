"""The state of the database's tables: which migration it is at, and moving it on."""

from __future__ import annotations

import functools
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import service
from service.db import Database

MIGRATIONS = Path(service.__file__).resolve().parent.parent / "migrations"
"""Beside the package, in the repository as in an installation."""


class SchemaError(Exception):
    """The tables are not those that this version works with."""


def migrate(database_url: str, revision: str = "head") -> None:
    """Brings the tables up to a revision; of two that are started together, one waits for the other."""
    command.upgrade(_config(database_url), revision)


def take_back(database_url: str, revision: str) -> None:
    """Brings the tables back to an older revision, `base` for none; what only the newer ones hold is lost."""
    command.downgrade(_config(database_url), revision)


@functools.cache
def head_revision() -> str:
    """The newest revision this version knows."""
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert head is not None
    return head


def current_revision(database: Database) -> str | None:
    """The revision that the tables are at; None when there are none."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def require_current(database: Database) -> None:
    """Refuses to work with tables of another version.

    Raises:
        SchemaError: They are older, or newer, or not there.
    """
    found, wanted = current_revision(database), head_revision()
    if found != wanted:
        state = (
            "has no tables yet" if found is None else f"is at revision {found}, this version needs {wanted}"
        )
        raise SchemaError(f"the database {state}: run `python -m service migrate` (or `fdkd migrate`)")


def _config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["database_url"] = database_url
    return config
