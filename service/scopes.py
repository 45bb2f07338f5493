"""Whose a thing is, and what a key may do: what is known of them without opening anything."""

from __future__ import annotations

SCOPES: dict[str, str] = {"read": "Look at everything of the owner.", "write": "Create, cancel and delete."}

LOCAL_OWNER = "own_" + "0" * 26
"""The owner of an installation for one person: whoever can read the data folder."""
