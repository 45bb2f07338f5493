from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from sqlalchemy import delete, insert, select
from starlette.requests import Request

from fdkd_core.errors import InputError
from service.db import Database
from service.errors import InvalidCursorError
from service.identifiers import new_id
from service.pagination import ListQuery, Page, parse_query, query_parameters, seal, unseal
from service.tables import Dataset, Table

KEY, OTHER_KEY = b"k" * 32, b"o" * 32


class ColourQuery(ListQuery):
    colour: Literal["red", "green"] | None = None
    """Of the thing."""


def request(query_string: str) -> Request:
    return Request(
        {"type": "http", "query_string": query_string.encode(), "path": "/v1/things", "headers": []}
    )


def codes(query_string: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse_query(request(query_string), ColourQuery)
    return [problem.code for problem in caught.value.problems]


def test_the_defaults() -> None:
    assert parse_query(request(""), ColourQuery) == ColourQuery(limit=20, cursor=None, colour=None)
    assert parse_query(request("limit=100&colour=red"), ColourQuery) == ColourQuery(limit=100, colour="red")


@pytest.mark.parametrize(
    "limit", ["0", "-1", "101", "1001", "abc", "1e9", "1000000000", "", "9" * 5000, "1.5"]
)
def test_limits_out_of_range(limit: str) -> None:
    assert codes(f"limit={limit}") == ["out_of_range"]


@pytest.mark.parametrize(
    "name", ["password__startswith", "sort", "owner_id", "state", "Limit", "", "%00", "x" * 9000]
)
def test_parameters_that_are_not_listed(name: str) -> None:
    assert codes(f"{name}=a") == ["unknown_filter"]


def test_a_value_that_is_not_one_of_the_choices() -> None:
    assert codes("colour=blue") == ["not_allowed"]


def test_a_parameter_given_twice() -> None:
    assert codes("limit=1&limit=2") == ["duplicate_key"]


@pytest.mark.parametrize(
    ("query", "name"),
    [("limit=0", "limit"), ("sort=a", "sort"), ("colour=x", "colour"), ("limit=1&limit=2", "limit")],
)
def test_a_problem_names_its_parameter(query: str, name: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_query(request(query), ColourQuery)
    (problem,) = caught.value.problems
    found = problem.as_dict()
    assert found["parameter"] == name
    assert "pointer" not in found


def test_all_problems_are_named_and_little_is_echoed() -> None:
    with pytest.raises(InputError) as caught:
        parse_query(
            request("limit=0&colour=" + "b" * 9000 + "&" + "&".join(f"f{i}=1" for i in range(900))),
            ColourQuery,
        )
    assert len(caught.value.problems) == 16
    assert len(str(caught.value)) < 4000


def test_the_parameters_are_documented() -> None:
    parameters = {entry["name"]: entry for entry in query_parameters(ColourQuery)["parameters"]}
    assert parameters["limit"]["schema"]["maximum"] == 100
    assert parameters["colour"]["description"] == "Of the thing."
    assert "$ref" not in str(parameters)


def test_a_cursor_reads_back_under_its_own_key_alone() -> None:
    last = new_id("job")
    cursor = seal(KEY, last)
    assert unseal(KEY, cursor) == last
    assert last not in cursor
    with pytest.raises(InvalidCursorError):
        unseal(OTHER_KEY, cursor)


def test_every_change_of_a_cursor_is_noticed() -> None:
    cursor = seal(KEY, new_id("job"))
    changed = [cursor[:n] for n in range(len(cursor))] + [
        cursor + "A",
        cursor + "=",
        cursor + "\n",
        " " + cursor,
    ]
    alphabet = "ABCxyz019-_"
    changed += [
        cursor[:n] + letter + cursor[n + 1 :]
        for n in range(len(cursor))
        for letter in alphabet
        if letter != cursor[n]
    ]
    for text in changed:
        with pytest.raises(InvalidCursorError):
            unseal(KEY, text)


@pytest.mark.parametrize("cursor", ["", "A", "=", "é", "%00", "A" * 10_000, "../../etc", "job_" + "0" * 26])
def test_cursors_that_were_made_up(cursor: str) -> None:
    with pytest.raises(InvalidCursorError):
        unseal(KEY, cursor)


def dataset(number: int) -> dict[str, Any]:
    name = f"data {number}"
    return {
        "id": new_id("ds"), "owner_id": "own_a", "name": name, "name_key": name, "format": "zip",
        "size_bytes": 1, "sha256": "0" * 64, "storage_key": "k",
    }  # fmt: skip


def test_rows_that_stay_are_seen_exactly_once_while_others_come_and_go(database_url: str) -> None:
    database = Database(database_url.replace("postgresql://", "postgresql+psycopg://"))
    Table.metadata.create_all(database.engine)
    rng = random.Random(5)
    numbers = iter(range(10_000))
    with database.write() as session:
        rows = [dataset(next(numbers)) for _ in range(120)]
        session.execute(insert(Dataset), rows)
    stays = {row["id"] for row in rows[::2]}
    goes = [row["id"] for row in rows[1::2]]
    rng.shuffle(goes)
    seen: list[str] = []
    after, pages = None, 0
    while True:
        page = Page(ListQuery(limit=7), after, KEY)
        with database.read() as session:
            shown, cursor = page.cut(session.execute(page.slice(select(Dataset.id), Dataset.id)).all())
        seen += [row.id for row in shown]
        pages += 1
        if cursor is None:
            break
        after = unseal(KEY, cursor)
        with database.write() as session:
            session.execute(insert(Dataset), [dataset(next(numbers)) for _ in range(50)])
            session.execute(delete(Dataset).where(Dataset.id.in_([goes.pop() for _ in range(3) if goes])))
    database.close()
    assert pages >= 10
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == len(seen)
    assert stays <= set(seen)


@pytest.mark.parametrize(("rows", "more"), [(0, False), (6, False), (7, False), (8, True)])
def test_the_row_beyond_the_limit_tells_whether_there_is_more(rows: int, more: bool) -> None:
    page = Page(ListQuery(limit=7), None, KEY)
    shown, cursor = page.cut([SimpleNamespace(id=f"ds_{n}") for n in range(rows)])
    assert len(shown) == min(rows, 7)
    assert (cursor is not None) == more


def test_a_secret_never_shows_up_when_a_context_is_printed(tmp_path: Path) -> None:
    from service.context import open_context
    from service.settings import Settings

    context = open_context(Settings(data_dir=tmp_path))
    assert str(context.secret) not in repr(context)
    context.close()
