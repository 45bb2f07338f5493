from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from service.db import Database
from service.errors import NameTakenError
from service.identifiers import new_id
from service.names import OwnName, name_key, unique_name
from service.settings import Settings
from service.tables import Dataset, Model, Table

ADAPTER: TypeAdapter[str] = TypeAdapter(OwnName)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(Settings(database_url=database_url).resolved_database_url)
    Table.metadata.create_all(found.engine)
    yield found
    found.close()


def insert(database: Database, name: str, owner_id: str = "own_1", dataset_id: str | None = None) -> None:
    with database.write() as session, unique_name(session, Dataset, owner_id, name):
        session.add(
            Dataset(
                id=dataset_id or new_id("ds"), owner_id=owner_id, name=name, name_key=name_key(name),
                format="zip", size_bytes=1, sha256="0" * 64, storage_key="datasets/x/x.zip",
            )
        )  # fmt: skip


def names(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(session.scalars(select(Dataset.name)))


@pytest.mark.parametrize(
    "name",
    [
        "digits", "a", "x" * 128, "Ziffern 2 (laut)", "数字", "Ωδή", "a/b", "😀",
        "<img src=x onerror=alert(1)>",
        "{{7*7}}", "'; DROP TABLE datasets; --", "..a", "ds_1", "ds_" + "0" * 25, "job_" + "0" * 26, "%2e%2e",
    ],
)  # fmt: skip
def test_a_name_is_kept_as_it_was_written(name: str) -> None:
    assert ADAPTER.validate_python(name) == name


HIDDEN = "invalid_characters"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "string_too_short"), ("x" * 129, "string_too_long"), ("x" * 10_240, "string_too_long"),
        (7, "string_type"), (None, "string_type"), (b"digits", "string_type"),
        (" ", HIDDEN), (" a", HIDDEN), ("a ", HIDDEN),
        ("a\u00a0", HIDDEN), ("\u3000a", HIDDEN),
        ("a\x00b", HIDDEN), ("a\nb", HIDDEN), ("\x1b[31m", HIDDEN),
        ("a\u202eb", HIDDEN), ("a\u200bb", HIDDEN), ("\u200f", HIDDEN),
        ("a\u200db", HIDDEN), ("a\u00adb", HIDDEN), ("\u2028", HIDDEN),
        ("\u3164", HIDDEN), ("\u2800", HIDDEN), ("\U000e0041", HIDDEN),
        (".", "not_allowed"), ("..", "not_allowed"),
        ("ds_" + "0" * 26, "not_allowed"), ("mdl_" + "z" * 26, "not_allowed"),
        ("DS_" + "A" * 26, "not_allowed"),
    ],
)  # fmt: skip
def test_what_is_no_name(name: object, code: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python(name, strict=True)
    assert [error["type"] for error in caught.value.errors()] == [code]


def test_half_a_surrogate_pair_is_no_name() -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python("a\ud800")


TWINS = [
    ("caf\u00e9", "cafe\u0301"),
    ("Digits", "dIGITS"),
    ("stra\u00dfe", "STRASSE"),
    ("\u212b", "\u00e5"),
    ("\u03c3", "\u03c2"),
    ("\u1f82", "\u1f8a"),
]


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_names_that_look_the_same_are_the_same(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


@given(st.text(max_size=128))
def test_a_key_fits_its_column_and_is_stable(name: str) -> None:
    key = name_key(name)
    assert len(key) <= 512
    assert name_key(unicodedata.normalize("NFD", name)) == name_key(unicodedata.normalize("NFC", name)) == key
    assert name_key(name.upper()) == name_key(name_key(name.upper()))


@pytest.mark.parametrize(("one", "other"), TWINS[:3])
def test_a_twin_is_refused(database: Database, one: str, other: str) -> None:
    insert(database, one)
    with pytest.raises(NameTakenError):
        insert(database, other)
    insert(database, other, owner_id="own_2")
    assert names(database) == sorted([one, other])


def test_of_eight_at_once_one_wins(database: Database) -> None:
    def attempt(number: int) -> bool:
        try:
            insert(database, "digits" if number % 2 else "DIGITS")
        except NameTakenError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(attempt, range(8))) == 1
    assert len(names(database)) == 1


def test_the_name_of_a_deleted_one_is_free(database: Database) -> None:
    insert(database, "digits", dataset_id="ds_old")
    with database.write() as session:
        session.get_one(Dataset, "ds_old").deleted_at = datetime.now(UTC)
    insert(database, "digits")
    assert names(database) == ["digits", "digits"]


@pytest.mark.parametrize(
    ("state", "name", "told"),
    [
        ("ready", "digits", "The name 'digits' is taken by ds_old."),
        ("ready", "DIGITS", "The name 'DIGITS' is taken by ds_old, 'digits'; names that differ only in case"),
        ("invalid", "digits", "taken by ds_old, which is invalid: delete that, and the name is free."),
    ],
)
def test_who_has_the_name_is_told(database: Database, state: str, name: str, told: str) -> None:
    insert(database, "digits", dataset_id="ds_old")
    with database.write() as session:
        session.get_one(Dataset, "ds_old").state = state
    with pytest.raises(NameTakenError, match=re.escape(told)):
        insert(database, name)
    insert(database, name, owner_id="own_2")
    assert len(names(database)) == 2


def test_another_conflict_is_not_called_a_taken_name(database: Database) -> None:
    insert(database, "one", dataset_id="ds_same")
    with pytest.raises(IntegrityError):
        insert(database, "two", dataset_id="ds_same")


def test_models_have_names_of_their_own(database: Database) -> None:
    insert(database, "digits")
    with database.write() as session, unique_name(session, Model, "own_1", "digits"):
        session.add(
            Model(
                id=new_id("mdl"), owner_id="own_1", name="digits", name_key="digits", source="upload",
                format="bundle", size_bytes=1, sha256="0" * 64, storage_key="models/x/bundle.zip",
            )
        )  # fmt: skip
