"""What the dataset routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from fdkd_core.spec.strict import Name, StrictModel
from service.names import OwnName
from service.pagination import ListQuery
from service.uploads.schemas import Sha256
from service.validation_failure import ValidationFailure

State = Literal["validating", "ready", "invalid"]


class DatasetForm(StrictModel):
    """The text fields of a dataset's form; they come before the part `file`."""

    name: OwnName
    """What jobs call it; names that differ only in case or Unicode form count as the same."""
    sha256: Sha256 | None = None
    """Of the file; what arrives must match."""


class DatasetFromUpload(StrictModel):
    """Makes a dataset of a complete upload."""

    name: OwnName
    """What jobs call it; names that differ only in case or Unicode form count as the same."""
    upload_id: str
    """Used up by this."""


class DatasetSummary(BaseModel):
    """Paired data, as lists show it."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)

    id: str
    name: str
    state: State
    """`validating` until a worker has read it; jobs take it when `ready`."""
    format: str
    """`zip`, `tar`, `tar.gz`, `tar.bz2`, `tar.xz`, `npz`, `parquet`, `csv` or `jsonl`."""
    size_bytes: int
    sha256: str
    """Of the file."""
    error: ValidationFailure | None
    """When `invalid`."""
    created_at: datetime
    validated_at: datetime | None


class DatasetRead(DatasetSummary):
    """Paired data: one immutable file and, once validated, the report on it."""

    report: dict[str, Any] | None
    """Rows and classes per split, modalities with shapes and rates, duplicates, warnings."""


class DatasetQuery(ListQuery):
    """Filters of the list of datasets."""

    state: State | None = None
    """Only these."""
    name: Name | None = None
    """Only the one of this name."""
