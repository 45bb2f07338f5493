"""The tables, as typed SQLAlchemy models. What a state may become is in `jobs/states.py`, not here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db import db_now
from service.jobs.states import JobState
from service.table_base import Counter
from service.table_base import Table as Table

NO_WAIT = "waits_for IS NULL"
IS_CHILD, IS_ALONE = "parent_id IS NOT NULL", "parent_id IS NULL"
IS_RETRY = "retry_of IS NOT NULL"
WAITS = f"state = 'queued' AND {IS_ALONE}"
HAD_TURN = "started_at IS NOT NULL AND finished_at IS NOT NULL"
"""Conditions of indexes over jobs: waits for no other; is part of another, or not; repeats one; counts; has
run."""


def _partial_index(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class Leased:
    """Work that one worker at a time holds, and loses when it is not heard of."""

    attempt: Mapped[int] = mapped_column(default=0)
    """Counts claims. Every later write names the attempt it belongs to, so a stale worker changes nothing."""
    worker_id: Mapped[str | None] = mapped_column(String(40))
    lease_expires_at: Mapped[datetime | None]
    """On the database's clock."""


class ApiKey(Table):
    """A key; only its hash is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner_id: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(128))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    """Of the whole key. Keys hold 256 random bits, so a slow hash would add nothing but load."""
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(insert_default=db_now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Upload(Table):
    """A body that arrives in parts."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner_id: Mapped[str] = mapped_column(String(40))
    file_name: Mapped[str] = mapped_column(String(255))
    size_bytes: Mapped[int]
    """Announced; the upload is complete when so many have come."""
    offset_bytes: Mapped[int] = mapped_column(default=0)
    """Received and on disk."""
    sha256: Mapped[str | None] = mapped_column(String(64))
    """Announced; checked when the upload is used."""
    created_at: Mapped[datetime] = mapped_column(insert_default=db_now())
    expires_at: Mapped[datetime]


class Dataset(Leased, Table):
    """Paired data: one immutable file and, once validated, the report on it."""

    __tablename__ = "datasets"
    __table_args__ = (
        CheckConstraint("state IN ('validating', 'ready', 'invalid')", name="state"),
        Index(
            "uq_datasets_owner_id_name_key",
            "owner_id",
            "name_key",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index("ix_datasets_owner_id_id", "owner_id", "id"),
        Index("ix_datasets_state_lease", "state", "lease_expires_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner_id: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(128))
    name_key: Mapped[str] = mapped_column(String(512))
    """The name after NFC and case folding, so that no two names look the same."""
    state: Mapped[str] = mapped_column(String(16), default="validating")
    format: Mapped[str] = mapped_column(String(16))
    """`zip`, `tar`, `npz`, `parquet`."""
    size_bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    storage_key: Mapped[str] = mapped_column(String(255))
    report: Mapped[dict[str, Any] | None]
    """What the core found: rows and classes per split, modalities, duplicates, warnings."""
    error: Mapped[dict[str, Any] | None]
    """When `invalid`: `{code, message, problems}`."""
    created_at: Mapped[datetime] = mapped_column(insert_default=db_now())
    validated_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class Model(Leased, Table):
    """Weights that may teach: uploaded, or the student or teacher of a job."""

    __tablename__ = "models"
    __table_args__ = (
        CheckConstraint("state IN ('validating', 'ready', 'invalid')", name="state"),
        Index(
            "uq_models_owner_id_name_key",
            "owner_id",
            "name_key",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index("ix_models_owner_id_id", "owner_id", "id"),
        Index("ix_models_state_lease", "state", "lease_expires_at"),
        Index("ix_models_job_id", "job_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner_id: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(128))
    name_key: Mapped[str] = mapped_column(String(512))
    state: Mapped[str] = mapped_column(String(16), default="validating")
    source: Mapped[str] = mapped_column(String(16))
    """`upload` or `job`."""
    role: Mapped[str | None] = mapped_column(String(16))
    """Of a job's model: `student` or `teacher`."""
    job_id: Mapped[str | None] = mapped_column(String(40), ForeignKey("jobs.id", use_alter=True))
    format: Mapped[str] = mapped_column(String(16))
    """`bundle`: a folder with preprocessing and labels; `safetensors`: bare weights; `onnx`: a network."""
    architecture: Mapped[dict[str, Any] | None]
    """As in a spec; of a bundle known once validated."""
    report: Mapped[dict[str, Any] | None]
    """Modality kind, input shape, classes, parameters; `classes` is null for bare weights."""
    size_bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the uploaded file; of a job's model, of `model.safetensors`."""
    storage_key: Mapped[str] = mapped_column(String(255))
    """A file, or for a bundle the prefix of its files."""
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(insert_default=db_now())
    validated_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class Job(Leased, Table):
    """A job: the queue and the record in one row."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("state IN (" + ", ".join(f"'{state}'" for state in JobState) + ")", name="state"),
        Index("ix_jobs_owner_id_id", "owner_id", "id"),
        Index("ix_jobs_owner_id_state_id", "owner_id", "state", "id"),
        Index("ix_jobs_owner_id_kind_id", "owner_id", "kind", "id"),
        Index("ix_jobs_owner_id_name_id", "owner_id", "name", "id"),
        Index("ix_jobs_state_lease", "state", "lease_expires_at"),
        Index("ix_jobs_dataset_id_id", "dataset_id", "id"),
        # Asked before a job is deleted, and by the database itself when it is.
        _partial_index("ix_jobs_retry_of", "retry_of", where=IS_RETRY),
        _partial_index("ix_jobs_parent_id_state_id", "parent_id", "state", "id", where=IS_CHILD),
        # See `jobs/line.py`. The state leads SQLite to them, which has no statistics. It is no condition of
        # theirs: PostgreSQL leaves out of a search what a condition says, and would read the whole index.
        _partial_index(
            "ix_jobs_next", "state", "owner_id", "available_at", "id", where=f"{NO_WAIT} AND {IS_ALONE}"
        ),
        _partial_index(
            "ix_jobs_next_child", "state", "parent_id", "available_at", "id",
            where=f"{NO_WAIT} AND {IS_CHILD}",
        ),
        _partial_index("ix_jobs_last_turn", "owner_id", "finished_at", where=HAD_TURN),
        _partial_index("ix_jobs_waiting", "owner_id", "state", "parent_id", "id", where=WAITS),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner_id: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(128))
    state: Mapped[str] = mapped_column(String(16), default=JobState.QUEUED)
    spec: Mapped[dict[str, Any]]
    """As posted, with every default filled in."""
    labels: Mapped[dict[str, Any]] = mapped_column(insert_default=dict)
    """The user's `metadata`: text by text (a mapped class owns the word metadata)."""
    dataset_id: Mapped[str] = mapped_column(String(40), ForeignKey("datasets.id"))
    retry_of: Mapped[str | None] = mapped_column(String(40), ForeignKey("jobs.id"))
    """The job this one repeats; it goes on from that job's last checkpoint."""
    parent_id: Mapped[str | None] = mapped_column(String(40), ForeignKey("jobs.id"))
    """The comparison that this job is a part of; its name is then its label there. See `jobs/families.py`."""
    waits_for: Mapped[int | None]
    """Stage of its family that must end first; until then no worker takes it."""
    children: Mapped[dict[str, Any] | None]
    """Of a parent: how many children are in each state, and `adopted`, those of the comparison that it
    repeats. Written with every move of a child, under the parent's lock."""
    available_at: Mapped[datetime] = mapped_column(insert_default=db_now())
    """Not to be claimed before, and the job's age in the line; later than creation after a loss, for the
    back-off, and as it was after an attempt that was merely given back."""
    losses: Mapped[int] = mapped_column(default=0)
    """Attempts lost to crashes and dead workers; a shutdown of a worker is not counted."""
    last_crash_step: Mapped[int | None]
    """Step of the last crash: a second one at the same step is the job's own fault."""
    cancel_requested_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    """When the newest attempt was last heard of; null again of a job that waits after a loss."""
    work_key: Mapped[str | None] = mapped_column(String(120))
    """Working folder of the newest attempt that began, with the checkpoints to go on from."""
    gpus: Mapped[int] = mapped_column(default=1, server_default="1")
    """Needed at once, by which workers pass it over; 1 may be a CPU."""
    progress: Mapped[dict[str, Any] | None]
    """`{phase, step, total_steps, epoch, eta_s}` over the whole job."""
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    """`{code, message, phase, retryable, problems?}` of a failed job."""
    version: Mapped[int] = mapped_column(default=1)
    """Grows with every change that a reader can see; the ETag."""
    created_at: Mapped[datetime] = mapped_column(insert_default=db_now())
    started_at: Mapped[datetime | None]
    """Of the first attempt."""
    finished_at: Mapped[datetime | None]


class JobModel(Table):
    """A model that a job is given, and what for."""

    __tablename__ = "job_models"
    __table_args__ = (Index("ix_job_models_model_id", "model_id"),)

    job_id: Mapped[str] = mapped_column(String(40), ForeignKey("jobs.id"), primary_key=True)
    role: Mapped[str] = mapped_column(String(16), primary_key=True)
    """`teacher`, `teacher2`, ... or `start`; see `fdkd_core.spec.named_models`."""
    model_id: Mapped[str] = mapped_column(String(40), ForeignKey("models.id"))


class JobEvent(Table):
    """What happened to a job, in order; never changed."""

    __tablename__ = "job_events"
    __table_args__ = (Index("ix_job_events_job_id_id", "job_id", "id"),)

    id: Mapped[int] = mapped_column(Counter, primary_key=True)
    """Grows within a job: its events are written under a lock on its row."""
    job_id: Mapped[str] = mapped_column(String(40), ForeignKey("jobs.id"))
    attempt: Mapped[int]
    type: Mapped[str] = mapped_column(String(40))
    data: Mapped[dict[str, Any]] = mapped_column(insert_default=dict)
    created_at: Mapped[datetime] = mapped_column(insert_default=db_now())


class JobMetric(Table):
    """One point of the training curves; a resumed attempt overwrites the steps it repeats."""

    __tablename__ = "job_metrics"
    __table_args__ = (UniqueConstraint("job_id", "phase", "kind", "step"),)

    id: Mapped[int] = mapped_column(Counter, primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40), ForeignKey("jobs.id"))
    phase: Mapped[str] = mapped_column(String(16))
    """`teacher`, `student`, `control`."""
    kind: Mapped[str] = mapped_column(String(16))
    """`step`: losses and speed; `epoch`: validation figures."""
    step: Mapped[int]
    epoch: Mapped[int]
    figures: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(insert_default=db_now())


class JobLog(Table):
    """A line that the trainer or its worker wrote."""

    __tablename__ = "job_logs"
    __table_args__ = (Index("ix_job_logs_job_id_id", "job_id", "id"),)

    id: Mapped[int] = mapped_column(Counter, primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40), ForeignKey("jobs.id"))
    attempt: Mapped[int]
    source: Mapped[str] = mapped_column(String(16))
    """`trainer` or `worker`."""
    line: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(insert_default=db_now())


class Artifact(Table):
    """A file of a succeeded job; the row appears in the transaction that makes it succeed."""

    __tablename__ = "artifacts"
    __table_args__ = (UniqueConstraint("job_id", "name"),)

    id: Mapped[int] = mapped_column(Counter, primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40), ForeignKey("jobs.id"))
    attempt: Mapped[int]
    name: Mapped[str] = mapped_column(String(255))
    """Path within the job, such as `student/model.onnx`; made by the core, never by a user."""
    media_type: Mapped[str] = mapped_column(String(80))
    size_bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    storage_key: Mapped[str] = mapped_column(String(400))
    created_at: Mapped[datetime] = mapped_column(insert_default=db_now())


class IdempotencyKey(Table):
    """The answer to a request that made something, to be given again when the request is repeated."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_expires_at", "expires_at"),)

    owner_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    route: Mapped[str] = mapped_column(String(80), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    location: Mapped[str] = mapped_column(String(255))
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(insert_default=db_now())
    expires_at: Mapped[datetime]


class Worker(Table):
    """A worker process that was heard of."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    mode: Mapped[str] = mapped_column(String(16))
    """`polling` or `celery`."""
    slots: Mapped[int]
    gpus: Mapped[int] = mapped_column(default=1, server_default="1")  # for one job; 0 where it is the CPU
    version: Mapped[str] = mapped_column(String(40))
    started_at: Mapped[datetime] = mapped_column(insert_default=db_now())
    heartbeat_at: Mapped[datetime] = mapped_column(insert_default=db_now())
