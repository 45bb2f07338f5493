"""Lists that come in pages, as iterators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import ValidationError

from fdkd_client.errors import UnexpectedAnswerError
from fdkd_client.model_figures import Answer
from fdkd_client.transport import Params, Transport

Item = TypeVar("Item", bound=Answer)
LARGEST_PAGE = 100
LARGEST_HISTORY_PAGE = 1000
"""Of events, metrics and logs."""


def read(model: type[Item], content: object) -> Item:
    """JSON as one of our models.

    Raises:
        UnexpectedAnswerError: A field is missing or of another type.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnexpectedAnswerError(
            f"The server's {model.__name__} cannot be read: {where}: {first['msg']}. "
            "Do client and server belong to the same release?"
        ) from None


def iterate(
    transport: Transport, path: str, model: type[Item], filters: Params, limit: int | None
) -> Iterator[Item]:
    """Newest first, asking for the next page when it is needed.

    Args:
        transport: Whom to ask.
        path: Of the list.
        model: Of its items.
        filters: Query parameters.
        limit: At most so many items; None gives all.
    """
    left, cursor = limit, None
    while left is None or left > 0:
        size = LARGEST_PAGE if left is None else min(left, LARGEST_PAGE)
        page = transport.json("GET", path, params={**filters, "limit": size, "cursor": cursor})
        items = _items(page)
        for item in items:
            yield read(model, item)
        left = None if left is None else left - len(items)
        cursor = page.get("next_cursor")
        if not page.get("has_more") or not cursor:
            return


def iterate_history(
    transport: Transport, path: str, model: type[Item], filters: Params, after: int | None
) -> Iterator[Item]:
    """Oldest first, everything there is after an id: events, metrics, logs."""
    while True:
        params = {**filters, "after": after, "limit": LARGEST_HISTORY_PAGE}
        page = transport.json("GET", path, params=params)
        items = _items(page)
        for item in items:
            yield read(model, item)
        if not page.get("has_more") or not items:
            return
        after = int(items[-1]["id"])


def _items(page: dict[str, Any]) -> list[dict[str, Any]]:
    items = page.get("data")
    if not isinstance(items, list):
        raise UnexpectedAnswerError("The server's list has no `data`.")
    return items
