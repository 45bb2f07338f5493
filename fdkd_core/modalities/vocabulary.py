"""What every vocabulary must be, wherever it comes from."""

from __future__ import annotations

from typing import Any

from fdkd_core.errors import Problem
from fdkd_core.modalities.options import OptionError

MAX_VOCAB = 100_000
"""Tokens, and as many merges at most."""
MAX_TOKEN_CHARS = 256
"""The longest word of a natural language stays under it; so does a URL worth a token."""


def check_ids(vocab: dict[str, Any]) -> None:
    """The library takes for granted that ids are 0..n-1.

    Raises:
        OptionError: `invalid_tokenizer` or `exceeds_limit`.
    """
    ids = sorted(number for number in vocab.values() if type(number) is int)
    if ids != list(range(len(vocab))):
        raise refused("invalid_tokenizer", f"token ids must be 0 to {len(vocab) - 1}, each once")
    if max(map(len, vocab), default=0) > MAX_TOKEN_CHARS:
        raise refused("exceeds_limit", f"tokens have at most {MAX_TOKEN_CHARS} characters")


def refused(code: str, detail: str) -> OptionError:
    """The error for a tokenizer.json that is not taken."""
    return OptionError(Problem(code, detail, "/tokenizer"))
