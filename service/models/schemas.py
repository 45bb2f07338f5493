"""What the model routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from fdkd_core.spec import ArchitectureSpec
from fdkd_core.spec.strict import Name, StrictModel
from service.identifiers import is_id
from service.models.file_format import ModelFormat
from service.names import OwnName
from service.pagination import ListQuery
from service.uploads.schemas import Sha256
from service.validation_failure import ValidationFailure

State = Literal["validating", "ready", "invalid"]
Source = Literal["upload", "job"]


class NewModel(StrictModel):
    """What every new model says of itself."""

    name: OwnName
    """What jobs call it; names that differ only in case or Unicode form count as the same."""
    architecture: ArchitectureSpec | None = None
    """As in a spec. Needed for safetensors; a bundle and an ONNX file bring their own."""


class ModelForm(NewModel):
    """The text fields of a model's form, `architecture` as JSON; they come before the part `file`."""

    sha256: Sha256 | None = None
    """Of the file; what arrives must match."""


class ModelFromUpload(NewModel):
    """Makes a model of a complete upload."""

    upload_id: str
    """Used up by this."""


class ModelSummary(BaseModel):
    """A model, as lists show it."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True, protected_namespaces=())

    id: str
    name: str
    state: State
    """`validating` until a worker has read it; jobs take it when `ready`."""
    source: Source
    role: Literal["student", "teacher"] | None
    """Of a job's model."""
    job_id: str | None
    """The job that made it."""
    format: ModelFormat
    architecture: dict[str, Any] | None
    """As in a spec; of a bundle known once it is validated; null for ONNX."""
    size_bytes: int
    sha256: str
    """Of the uploaded file; of a job's model, of its weights."""
    error: ValidationFailure | None
    """When `invalid`."""
    created_at: datetime
    validated_at: datetime | None


class ModelRead(ModelSummary):
    """Weights that may teach: uploaded, or the student or teacher of a job."""

    report: dict[str, Any] | None
    """Modality kind, input shape, classes, parameters; `classes` is null for bare weights and ONNX, whose
    `outputs` are listed."""


def _require_job_id(text: str) -> str:
    if not is_id(text, "job"):
        raise PydanticCustomError("invalid_id", "is not the id of a job")
    return text


class ModelQuery(ListQuery):
    """Filters of the list of models."""

    state: State | None = None
    """Only these."""
    name: Name | None = None
    """Only the one of this name."""
    source: Source | None = None
    """Only uploads, or only those that jobs made."""
    job_id: Annotated[str, AfterValidator(_require_job_id)] | None = None
    """Only those of this job."""
