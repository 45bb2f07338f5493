"""Where output goes: data to stdout, everything else to stderr. rich is loaded when it is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from fdkd_core.errors import Problem

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from fdkd_client.errors import FDKDClientError
    from fdkd_client.model_figures import Answer

_UNTRUNCATED = 400
"""Columns of a table that no terminal shows: a script that reads it wants whole ids."""

_ID_CELLS = 30
"""An id stays whole whatever else is cut off: a part of it is of no use to anybody."""
_NAME_CELLS = 48
"""Of a terminal; a character may take two."""


class Output(StrEnum):
    """How data is written."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", help="How the result is written to stdout.")]


@cache
def stdout() -> Console:
    """The console for data."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _UNTRUNCATED)


@cache
def stderr() -> Console:
    """The console for progress and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """A line of rich markup to stderr; pass what others wrote through `plain`."""
    stderr().print(text, soft_wrap=True)


def show(*parts: RenderableType) -> None:
    """Data to stdout."""
    for part in parts:
        stdout().print(part)


def show_line(text: str) -> None:
    """One line of data to stdout, as it is."""
    sys.stdout.write(printable(text) + "\n")


def show_json(data: Answer | Iterable[Answer | str]) -> None:
    """Data to stdout as JSON: an object, or a list of them or of texts."""
    from pydantic import BaseModel

    content = (
        data.model_dump(mode="json", by_alias=True)
        if isinstance(data, BaseModel)
        else [item if isinstance(item, str) else item.model_dump(mode="json", by_alias=True) for item in data]
    )
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def new_table(*headings: str, right: Iterable[str] = (), wide: Iterable[str] = ()) -> Table:
    """A table without lines but one, narrow enough for 80 columns.

    Args:
        headings: Of the columns.
        right: Those that hold numbers.
        wide: Those that give way where the terminal is narrow.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(
            heading,
            justify="right" if heading in set(right) else "left",
            overflow="ellipsis",
            min_width=_ID_CELLS if heading == "id" else None,
            no_wrap=heading not in set(wide),
        )
    return table


def short_name(text: str) -> Text:
    """A name in a list: on one line, and on a terminal so wide at most that it does not push the others away.

    A script that reads the list looks for whole names.
    """
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    shown = printable(text)
    if stdout().is_terminal and cell_len(shown) > _NAME_CELLS:
        shown = set_cell_size(shown, _NAME_CELLS - 1).rstrip() + "…"
    return Text(shown, no_wrap=True, overflow="ellipsis")


def one_line(markup: str) -> Text:
    """Markup in a column that gives way: what does not fit is cut off, not wrapped."""
    from rich.text import Text

    text = Text.from_markup(markup, overflow="ellipsis")
    text.no_wrap = True
    return text


def plain(text: object) -> str:
    """Anything that others wrote, for use in markup: neither markup of ours nor codes of the terminal."""
    from rich.markup import escape

    return escape(printable(str(text)))


def printable(text: str) -> str:
    """Text whose control characters, which could command the terminal, are shown instead of sent."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == "\t" else ascii(character)[1:-1]
        for character in text
    )


def show_problems(title: str, problems: Iterable[Problem]) -> None:
    """Every problem of bad input to stderr, one a line: where, what was found and what is allowed."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    stderr().print(f"[bold red]{plain(title)}[/]", soft_wrap=True)
    for problem in problems:
        where = " ".join(
            part
            for part in (f"row {problem.row}" if problem.row is not None else "", problem.pointer or "")
            if part
        )
        code = f" [dim]{plain(f'[{problem.code}]')}[/]" if problem.code else ""
        table.add_row(f"  {plain(where)}" if where else "  -", f"{plain(problem.detail)}{code}")
    stderr().print(table)


def show_error(error: FDKDClientError) -> None:
    """An error to stderr: what happened, each problem, and what to do about it."""
    from fdkd_client.errors import (
        APIError,
        AuthenticationError,
        NoServerError,
        ServerError,
        ServerUnreachableError,
    )

    if isinstance(error, APIError) and error.problems:
        only = error.problems[0]
        if len(error.problems) == 1 and _says_no_more(error.detail, only):
            stderr().print(f"[bold red]error:[/] {plain(only)}", soft_wrap=True)
        else:
            show_problems(error.detail, error.problems)
    else:
        stderr().print(f"[bold red]error:[/] {plain(error)}", soft_wrap=True)
    if isinstance(error, AuthenticationError):
        say("Set FDKD_API_KEY to a valid key; `fdkd keys create` makes one on the server's machine.")
    elif isinstance(error, APIError) and error.code == "quota_exceeded":
        say("What takes the room: fdkd usage")
    elif isinstance(error, ServerUnreachableError) and not isinstance(error, NoServerError):
        say("Is it running? `fdkd serve` starts one here; FDKD_URL names another.")
    elif isinstance(error, ServerError) and error.request_id:
        say(f"The server's log has more under request {plain(error.request_id)}.")


def _says_no_more(headline: str, problem: Problem) -> bool:
    """Whether a headline is the problem itself, maybe cut off: the server has no other for a single one."""
    if headline in (problem.detail, problem.sentence, str(problem)):  # the last, of older servers
        return True
    return headline.endswith("...") and str(problem).startswith(headline.removesuffix("..."))
