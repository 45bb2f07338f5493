"""What the upload routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fdkd_core.spec.strict import StrictModel, refuse_invisible

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$"), AfterValidator(str.lower)]
"""SHA-256 in 64 hexadecimal digits."""

FileName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(refuse_invisible)]


class UploadCreate(StrictModel):
    """Announces a file that will come in parts."""

    file_name: FileName
    """Tells the format by its suffix; the content must agree."""
    size_bytes: Annotated[int, Field(ge=1)]
    """Of the whole file; reserved from the quota at once."""
    sha256: Sha256 | None = None
    """Of the whole file; what arrived must match when the upload is used."""


class UploadRead(BaseModel):
    """A file that arrives in parts."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)

    id: str
    file_name: str
    size_bytes: int
    offset_bytes: int
    """Received and on disk: where the next part begins."""
    sha256: str | None
    created_at: datetime
    expires_at: datetime
    """Until then it must be complete and used."""
