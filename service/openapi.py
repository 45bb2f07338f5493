"""The API's description (OpenAPI 3.1)."""

from __future__ import annotations

import json

from fastapi import FastAPI


def as_text(app: FastAPI) -> str:
    """The description as it is kept in the repository."""
    return json.dumps(app.openapi(), indent=2, sort_keys=True) + "\n"
