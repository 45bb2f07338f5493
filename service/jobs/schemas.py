"""Jobs as clients write and read them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fdkd_core.spec import JobKind, JobSpec
from fdkd_core.spec.result import Result
from fdkd_core.spec.strict import Name, refuse_invisible
from service.jobs.states import JobState
from service.pagination import ListQuery, Query

MAX_LABELS = 16
MAX_LABEL_KEY = 64
MAX_LABEL_VALUE = 512
MAX_HISTORY = 1000
MAX_ROW_ID = 2**63 - 1
VISIBLE = AfterValidator(refuse_invisible)
"""Of text that a column is compared with: PostgreSQL fails at a NUL, where SQLite finds nothing."""


class Schema(BaseModel):
    """Base of what is documented here; answers hold exactly these fields."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class JobBody(Schema):
    """Body of a new job as it is read; the core checks the spec by its own rules."""

    spec: dict[str, Any]
    metadata: dict[str, Any] = Field(default_factory=dict)


class NewJob(Schema):
    """A job to create."""

    spec: JobSpec
    """What to train. `dataset`, the teachers' `model` and `student.start` are ids or names of your own."""
    metadata: dict[
        Annotated[str, Field(min_length=1, max_length=MAX_LABEL_KEY)],
        Annotated[str, Field(max_length=MAX_LABEL_VALUE)],
    ] = Field(default_factory=dict, max_length=MAX_LABELS)
    """Text by text, for your own use."""


class Progress(Schema):
    """How far a running job is."""

    phase: str
    """`preparing`, `teacher`, `student`, `control`, `finalise` or `publishing`, or a name of the kind of job;
    `children` while a comparison waits for them. There may come more."""
    step: int
    """Over the whole job; of `children`, how many have ended."""
    total_steps: int | None
    epoch: int | None
    """Of the phase, from 1."""
    eta_s: float | None
    """Seconds left."""


class JobProblem(Schema):
    """One thing wrong with the data or the weights."""

    code: str
    detail: str
    pointer: str | None = None
    row: int | None = None


class JobError(Schema):
    """Why a job failed."""

    code: str
    message: str
    phase: str | None
    retryable: bool
    """Whether the same job may succeed when it is tried again."""
    problems: list[JobProblem] | None = None


class JobModels(Schema):
    """Ids of the models that a job made."""

    student: str | None
    teacher: str | None


class Children(Schema):
    """The jobs that a comparison is made of: the list with its `parent_id` shows them."""

    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    adopted: dict[str, str]
    """Ids by name of what was taken over from the comparison that this one repeats, and is not run again."""


class JobRead(Schema):
    """A job."""

    id: str
    kind: JobKind
    name: str
    state: JobState
    cancel_requested: bool
    """Somebody asked to cancel it; a running job stops at its next step."""
    spec: JobSpec
    """As posted, with every default filled in."""
    metadata: dict[str, str]
    dataset_id: str
    teacher_model_id: str | None
    """Of the first teacher, where it is given; also in `given_models`."""
    given_models: dict[str, str]
    """Ids of the existing models that the spec names, by role: `teacher`, `teacher2` (the first of
    `more_teachers`) and so on, and `start` (`student.start`)."""
    retry_of: str | None
    """The job that this one repeats and goes on from."""
    parent_id: str | None
    """The comparison that this job is a part of."""
    is_blocked: bool
    """It waits for other jobs: a comparison for its children, an arm for the teacher."""
    children: Children | None
    """Of a comparison."""
    progress: Progress | None
    result: Result | None
    error: JobError | None
    attempt: int
    """Counts the times a worker began it."""
    models: JobModels | None
    created_at: datetime
    started_at: datetime | None
    """Of the first attempt."""
    finished_at: datetime | None


class Validated(Schema):
    """The answer of a dry run: the job would be accepted now."""

    valid: Literal[True]
    spec: JobSpec
    dataset_id: str
    teacher_model_id: str | None
    """Of the first teacher, where it is given; also in `given_models`."""
    given_models: dict[str, str]
    """Ids of the existing models that the spec names, by role: `teacher`, `teacher2` (the first of
    `more_teachers`) and so on, and `start` (`student.start`)."""
    student_parameters: int
    """Numbers that the student learns."""
    student_trainings: int
    """Most trainings of a student that it takes, in full ones; see `docs/jobs.md`."""
    teacher_trainings: int
    """Teachers that it trains first."""
    children: list[str]
    """Names of the jobs that a comparison would be made of."""
    warnings: list[str]
    """Of the dataset's validation."""


class EventRead(Schema):
    """Something that happened to a job."""

    id: int
    type: str
    """`job.queued`, `job.claimed`, `job.succeeded` and so on; there may come more."""
    attempt: int
    data: dict[str, Any]
    created_at: datetime


class MetricRead(Schema):
    """A point of the training curves."""

    id: int
    phase: str
    """`teacher`, `student` or `control`; of a study, one of its trainings."""
    kind: Literal["step", "epoch"]
    """`step`: losses and speed; `epoch`: validation figures."""
    step: int
    epoch: int
    figures: dict[str, Any]
    created_at: datetime


class LogRead(Schema):
    """A line that the trainer or its worker wrote."""

    id: int
    attempt: int
    source: str
    line: str
    created_at: datetime


class JobQuery(ListQuery):
    """Query of the list of jobs."""

    state: Literal["queued", "running", "succeeded", "failed", "cancelled"] | None = None
    """Only jobs in this state."""
    kind: JobKind | None = None
    """Only jobs of this kind."""
    name: Name | None = None
    """Only jobs of exactly this name."""
    dataset_id: Annotated[str, Field(max_length=40), VISIBLE] | None = None
    """Only jobs over this dataset."""
    parent_id: Annotated[str, Field(max_length=40), VISIBLE] | None = None
    """Only the jobs that this comparison is made of."""
    include_children: bool = False
    """List jobs that are part of a comparison beside those that are not."""


class SubmitQuery(Query):
    """Query of a new job."""

    validate_only: bool = False
    """Make every check of a live call, incl. the limit of waiting jobs, and create nothing."""


class DeleteQuery(Query):
    """Query of a deletion."""

    with_models: bool = False
    """Delete the models that it made, too; without this they must have been deleted before."""


class HistoryQuery(Query):
    """Query of what is told in the order in which it happened."""

    after: Annotated[int, Field(ge=0, le=MAX_ROW_ID)] = 0
    """Only entries behind this id; `next_cursor` of the page before."""
    limit: Annotated[int, Field(ge=1, le=MAX_HISTORY)] = 100
    """Most entries to return."""


class MetricQuery(HistoryQuery):
    """Query of the training curves."""

    phase: Annotated[str, Field(min_length=1, max_length=16), VISIBLE] | None = None
    """Only of this phase."""
    kind: Literal["step", "epoch"] | None = None
    """Only of this kind."""
