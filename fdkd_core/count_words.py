"""Numbers of things in words, for core and client."""

from __future__ import annotations


def count(number: int, one: str, many: str | None = None) -> str:
    """Such as `1 row`, `900 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
