"""Why an uploaded file cannot be used, as datasets and models show it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class ValidationFailure(BaseModel):
    """Why a file is `invalid`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    code: str
    """Stable name, such as `invalid_dataset`; `crashed` when reading it killed its reader three times."""
    message: str
    problems: list[dict[str, Any]] = []
    """Each with `code` and `detail`, and where it belongs to one, `pointer` or `row`."""
