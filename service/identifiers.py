"""Ids that sort by time and say what they name: `job_` and 26 characters of Crockford base 32."""

from __future__ import annotations

import re
import secrets
import time
from typing import Literal

Prefix = Literal["job", "ds", "mdl", "upl", "key", "wrk", "own"]

_KINDS: dict[str, str] = {"job": "job", "ds": "dataset", "mdl": "model", "upl": "upload"}
"""What people look for by id."""
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PATTERN = re.compile(r"[a-z]{2,3}_[0-9a-hjkmnp-tv-z]{26}")


def new_id(prefix: Prefix) -> str:
    """A new id: 48 bits of milliseconds, then 80 random bits (the layout of ULID)."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    characters = [_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(characters)}"


def is_id(text: str, prefix: Prefix) -> bool:
    """Whether `text` has the form of an id of this kind; anything else never reaches a query."""
    return _PATTERN.fullmatch(text) is not None and text.startswith(prefix + "_")


def kind_of(text: str) -> str | None:
    """What a text of the form of an id would name: `dataset`; None where it has no such form."""
    return _KINDS.get(text.partition("_")[0]) if _PATTERN.fullmatch(text) else None
