"""Artifacts as clients see them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ArtifactRead(BaseModel):
    """A file that a succeeded job made."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str
    """Path within the job, such as `student/model.onnx`."""
    media_type: str
    size_bytes: int
    sha256: str
    """Hexadecimal; also its ETag, in quotes."""
    url: str
    """Where to download it, relative to the server."""


class ArtifactList(BaseModel):
    """All files of a job; empty until it has succeeded."""

    data: list[ArtifactRead]
