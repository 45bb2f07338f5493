"""Everything that can be set from outside, with its default and the reason. Read once, at start."""

from __future__ import annotations

import json
import os
import sys
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

GIB = 1 << 30


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/fdkd`, which is `~/.local/share/fdkd` where nothing is set."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "fdkd"


def _listed(value: object) -> object:
    """A list of names as JSON, or as most people write it: one name, or several with commas between them."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        if '"' in value:
            raise ValueError("is neither a JSON list nor names with commas between them") from None
        return [name for part in value.split(",") if (name := part.strip())]


class Settings(BaseSettings):
    """Settings of API and workers, from `FDKD_*` environment variables."""

    model_config = SettingsConfigDict(
        env_prefix="FDKD_",
        env_ignore_empty=True,  # lists too, which are decoded before any validator sees them
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    data_dir: Annotated[Path, AfterValidator(Path.absolute)] = Field(default_factory=default_data_dir)
    """Database (when it is SQLite), uploads, artifacts and working folders. A local disk: SQLite in WAL mode
    must not lie on a network share."""
    database_url: str = ""
    """SQLAlchemy URL; empty takes SQLite in `data_dir`. `postgresql://` uses psycopg 3."""
    broker_url: str = ""
    """Redis URL of Celery; empty lets workers poll the job table, which needs no broker."""

    allowed_hosts: Annotated[list[str], NoDecode, BeforeValidator(_listed)] = [
        "localhost",
        "127.0.0.1",
        "[::1]",
    ]
    """Host names a request may be addressed to, without port, with commas between them: anything else is
    refused, so that a web page that rebinds its name to this machine reaches nothing. `*` allows all."""
    access_log: bool = True
    """A line in the log for every request; `fdkd serve` does without."""
    max_json_bytes: int = 1 << 20
    """Largest JSON body; specs are a few KiB."""
    max_dataset_bytes: int = 8 * GIB
    """Largest dataset file."""
    max_model_bytes: int = 2 * GIB
    """Largest model file."""
    max_stored_bytes: int = 64 * GIB
    """Uploads, datasets, models and artifacts that one owner may keep."""
    max_queued_jobs: int = 1000
    """Jobs one owner may have waiting; more are told to come back (429). A comparison counts as one."""
    upload_expiry_s: float = 24 * 3600
    """How long a resumable upload may lie unfinished."""
    idempotency_expiry_s: float = 24 * 3600
    """How long an Idempotency-Key is remembered."""

    lease_s: float = 30
    """A worker that has not been heard of for so long has lost its job."""
    heartbeat_s: float = 10
    """How often a worker renews its lease: three tries within one."""
    sweep_s: float = 5
    """How often lost jobs and lost wake-ups are looked for."""
    poll_s: float = 0.5
    """How often an idle worker without a broker looks for work; a job must start within a second."""
    control_poll_s: float = 1.0
    """How often a running job's row is asked whether to cancel; renewing the lease has its own interval."""
    stop_grace_s: float = 20
    """From SIGTERM to SIGKILL for a trainer that was asked to stop."""
    shutdown_grace_s: float = 8
    """The same while the whole worker is being shut down, which a person waits for."""
    max_attempts: int = 5
    """Attempts of a job that keeps being lost through no fault of its own."""
    retry_backoff_s: float = 5
    """Wait before the attempt after the n-th loss: this times 2**n, jittered, at most 10 minutes."""
    stall_min_s: float = 120
    """A trainer without a step for longer than this, and than 20 times its median step, hangs."""
    prepare_timeout_s: float = 3600
    """Longest time a trainer may take before its first step, loading and decoding the data."""
    validation_timeout_s: float = 1800
    """Longest validation of an upload."""
    trainer_threads: int | None = None
    """CPU threads of one trainer; null takes the usable cores divided by the workers' slots."""
    trainer_memory_bytes: int | None = None
    """Address space of one trainer (RLIMIT_AS); null sets no limit. CUDA needs far more than it uses."""
    validation_memory_bytes: int = 6 * GIB
    """Address space of the process that reads an upload for the first time."""
    trainer_command: list[str] = [sys.executable, "-m", "worker.trainer"]
    """What is started to train: a seam for tests of what happens when it misbehaves."""
    teacher_cache_bytes: Annotated[int, Field(ge=0)] = 4 * GIB
    """Disk for what teachers said of whole datasets, on each machine that trains; what was not used longest
    goes first. Room for some thirty datasets of 50 000 rows; 0 keeps none, and computes them every time."""
    trainer_standby: bool = True
    """Keep a trainer that has imported torch ready for the next job, from the first job on: that one then
    starts in a fraction of a second instead of two. Costs 250 MB of memory per slot."""
    device: str = "auto"
    """Device of trainers: `cpu`, `cuda`, `cuda:N`, `auto`."""
    worker_slots: int = 1
    """Jobs one worker process trains at a time."""
    worker_gpus: Annotated[int, Field(ge=0, le=16)] | None = None
    """GPUs that one job of a worker may use at once; null counts them: all where it trains a job at a time
    and `device` names no single one, else one. With `device` cpu so many processes stand in for them."""

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: Any) -> Any:
        """An empty variable in a compose file means that nothing was chosen."""
        if isinstance(values, dict):
            return {name: value for name, value in values.items() if value != ""}
        return values

    @cached_property
    def resolved_database_url(self) -> str:
        """The database, with the driver named."""
        url = self.database_url or f"sqlite:///{self.data_dir / 'fdkd.db'}"
        for prefix in ("postgres://", "postgresql://"):
            if url.startswith(prefix):
                return "postgresql+psycopg://" + url.removeprefix(prefix)
        return url

    @property
    def storage_dir(self) -> Path:
        """Datasets, models, artifacts: what `service.storage` keeps."""
        return self.data_dir / "storage"

    @property
    def uploads_dir(self) -> Path:
        """Bodies that are still arriving."""
        return self.data_dir / "uploads"

    @property
    def work_dir(self) -> Path:
        """Working folders of attempts: checkpoints, results not yet published."""
        return self.data_dir / "work"

    @property
    def teacher_cache_dir(self) -> Path:
        """What teachers said of whole datasets, shared by the jobs of one machine."""
        return self.work_dir / "cache"

    def make_folders(self) -> None:
        """Creates the folders, readable by their owner alone."""
        for folder in (self.data_dir, self.storage_dir, self.uploads_dir, self.work_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
