"""Locks on what has no row: PostgreSQL's advisory locks, which end with their transaction."""

from __future__ import annotations

import hashlib


def lock_number(*name: str) -> int:
    """The 64-bit number under which PostgreSQL knows the lock of this name."""
    return int.from_bytes(hashlib.sha256("\0".join(name).encode()).digest()[:8], "big", signed=True)
