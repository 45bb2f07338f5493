"""What the service hands back, as typed models.

Fields that this release does not know are kept (`model_dump` shows them), and states are plain text, so that
an older client goes on working with a newer server.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from fdkd_client.figures import Figures
from fdkd_client.model_figures import Answer

TERMINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})


class ProblemInfo(Answer):
    """One thing wrong with input."""

    code: str = ""
    detail: str = ""
    pointer: str | None = None
    row: int | None = None


class Failure(Answer):
    """Why a dataset or model is invalid, or a job failed."""

    code: str
    message: str = ""
    phase: str | None = None
    """Of a job: where it was."""
    retryable: bool | None = None
    """Of a job: whether another attempt may fare better."""
    problems: list[ProblemInfo] = Field(default_factory=list)


class Upload(Answer):
    """A body that arrives in parts."""

    id: str
    file_name: str
    size_bytes: int
    offset_bytes: int
    sha256: str | None = None
    expires_at: datetime | None = None


class Dataset(Answer):
    """Paired data: `validating`, then `ready` or `invalid`."""

    id: str
    name: str
    state: str
    format: str | None = None
    size_bytes: int = 0
    sha256: str | None = None
    report: dict[str, Any] | None = None
    """Rows and classes per split, modalities, duplicates, warnings; not in lists."""
    error: Failure | None = None
    created_at: datetime | None = None
    validated_at: datetime | None = None


class Model(Answer):
    """A model that may teach: uploaded, or made by a job."""

    id: str
    name: str
    state: str
    source: str | None = None
    role: str | None = None
    """Of a model made by a job: `student` or `teacher`."""
    job_id: str | None = None
    format: str | None = None
    architecture: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    """Modality kind, input shape, classes, parameters."""
    size_bytes: int = 0
    sha256: str | None = None
    error: Failure | None = None
    created_at: datetime | None = None
    validated_at: datetime | None = None


class Progress(Answer):
    """How far a job is."""

    phase: str
    """`preparing`, `teacher`, `student`, `control`, `finalise`, `publishing`; `children` of a comparison that
    waits for them, where `step` and `total_steps` count jobs."""
    step: int | None = None
    total_steps: int | None = None
    epoch: int | None = None
    eta_s: float | None = None


class JobModels(Answer):
    """Ids of the models that a job made."""

    student: str | None = None
    teacher: str | None = None


class Children(Answer):
    """How many of the jobs that a comparison is made of are in each state."""

    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    adopted: dict[str, str] = Field(default_factory=dict)
    """Ids by name of what was taken over from the comparison that this one repeats."""


class Job(Answer):
    """A job: `queued`, `running`, then `succeeded`, `failed` or `cancelled`."""

    id: str
    kind: str
    name: str
    state: str
    cancel_requested: bool = False
    spec: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    dataset_id: str | None = None
    teacher_model_id: str | None = None
    given_models: dict[str, str] = Field(default_factory=dict)
    """Ids of the existing models that it uses, by role: `teacher`, `teacher2`, ..., `start`."""
    retry_of: str | None = None
    parent_id: str | None = None
    """The comparison that this job is a part of."""
    is_blocked: bool = False
    """It waits for other jobs of its comparison."""
    children: Children | None = None
    """Of a comparison; `client.jobs.children` shows them."""
    progress: Progress | None = None
    result: Figures | None = None
    """What it measured, by kind: see `fdkd_client.figures`."""
    error: Failure | None = None
    attempt: int = 0
    models: JobModels | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended; then nothing of it changes any more."""
        return self.state in TERMINAL_STATES


class Validation(Answer):
    """What `validate_only` found: the job could be created."""

    valid: bool
    spec: dict[str, Any] = Field(default_factory=dict)
    dataset_id: str | None = None
    teacher_model_id: str | None = None
    given_models: dict[str, str] = Field(default_factory=dict)
    """Ids of the existing models that it uses, by role: `teacher`, `teacher2`, ..., `start`."""
    student_parameters: int | None = None
    student_trainings: int | None = None
    """Most trainings of a student that it takes, in full ones."""
    teacher_trainings: int | None = None
    """Teachers that it trains first."""
    children: list[str] = Field(default_factory=list)
    """Names of the jobs that a comparison would be made of."""
    warnings: list[str] = Field(default_factory=list)


class JobEvent(Answer):
    """Something that happened to a job. Those without an id (`progress`) are passing news."""

    id: int | None = None
    type: str
    attempt: int | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime | None = None


class Metric(Answer):
    """Figures of training at one step."""

    id: int
    phase: str
    kind: str
    step: int | None = None
    epoch: int | None = None
    figures: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime | None = None


class LogLine(Answer):
    """One line that a job wrote."""

    id: int
    attempt: int | None = None
    source: str | None = None
    line: str
    created_at: datetime | None = None


class Artifact(Answer):
    """A file that a job made."""

    name: str
    media_type: str | None = None
    size_bytes: int
    sha256: str
    url: str | None = None


class ArchitectureInfo(Answer):
    """A network that jobs may name."""

    name: str
    description: str = ""
    kinds: list[str] = Field(default_factory=list)
    """Modality kinds it fits."""
    # `schema` is a method of pydantic's models.
    json_schema: dict[str, Any] = Field(default_factory=dict, alias="schema")


class MethodInfo(Answer):
    """A distillation method that jobs may name."""

    name: str
    description: str = ""
    json_schema: dict[str, Any] = Field(default_factory=dict, alias="schema")


class KindInfo(Answer):
    """A kind of job."""

    name: str
    description: str = ""


class Catalog(Answer):
    """What jobs may be made of."""

    kinds: list[KindInfo] = Field(default_factory=list)
    architectures: list[ArchitectureInfo] = Field(default_factory=list)
    methods: list[MethodInfo] = Field(default_factory=list)
    modality_kinds: list[Any] = Field(default_factory=list)
    tasks: list[Any] = Field(default_factory=list)
    limits: dict[str, Any] = Field(default_factory=dict)


class Usage(Answer):
    """What is stored, in bytes, and how much may be."""

    stored_bytes: int
    max_stored_bytes: int
    stored: dict[str, int] = Field(default_factory=dict)
    """By what it is: `uploads`, `datasets`, `models` (uploaded ones), `jobs` (the files they made)."""


class Version(Answer):
    """Release of the server."""

    version: str
    api: str
    schema_version: int | str | None = None
