"""From a finished run's folder to artifacts and models that anyone may rely on.

Everything is stored and checked first, under keys that no other attempt uses; one transaction then lists it
all and makes the job succeed. Until then nobody sees anything of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from fdkd_core.atomic_files import sha256_file
from fdkd_core.errors import StorageError
from fdkd_core.spec.result import Result, parse_result
from service.db import db_now
from service.failpoints import reach
from service.identifiers import new_id
from service.jobs import transitions
from service.jobs.states import JobEventType
from service.names import name_key
from service.storage import Storage, Stored
from service.tables import Artifact, Job, Model
from worker.archives import store_archive, write_zip

MEDIA_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown; charset=utf-8",
    ".zip": "application/zip",
    ".csv": "text/csv; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_RUN_FILES = ("result.json", "data_report.json", "events.jsonl")
_SOMETIMES = frozenset({"data_report.json"})
"""What is concluded from the results of other runs has read no data."""
_ROLES = ("student", "teacher")
MAX_NAME_CHARACTERS = 128


@dataclass(frozen=True)
class Publication:
    """What a run leaves behind, all of it stored."""

    result: Result
    artifacts: dict[str, Stored]
    """By name."""
    models: dict[str, dict[str, Any]]
    """By role: columns of `Model` that the bundle determines."""


def store_artifacts(
    storage: Storage, job: Job, out: Path, *, check: Callable[[], None] = lambda: None
) -> Publication:
    """Stores every artifact of a finished run and compares it with what was hashed at its source.

    Args:
        storage: Where to.
        job: The job, whose attempt is part of every key.
        out: The run's output folder, with its result.json. Archives of the bundles are made beside it.
        check: Called between files; may raise to stop.

    Raises:
        StorageError: What was stored is not what was to be stored, or the disk is full.
        FileNotFoundError: The folder is not that of a finished run.
        ValueError: Its files are not what the core writes.
    """
    result = parse_result((out / "result.json").read_bytes())
    artifacts: dict[str, Stored] = {}
    models: dict[str, dict[str, Any]] = {}
    prefix = artifact_prefix(job)
    for name, path, sha256 in _sources(out):
        check()
        stored = storage.put(f"{prefix}/{name}", path)
        if (stored.size_bytes, stored.sha256) != (path.stat().st_size, sha256):
            raise StorageError(f"{name} was not stored as it was written")
        artifacts[name] = stored
    for folder in _bundles(out):
        check()
        archive = out.parent / f"{folder.name}.zip"
        write_zip(folder, archive)
        inside = f"{folder.name}/"
        members = {
            name.removeprefix(inside): found for name, found in artifacts.items() if name.startswith(inside)
        }
        artifacts[archive.name] = store_archive(storage, f"{prefix}/{archive.name}", archive, members)
        archive.unlink()
    for role in _ROLES:
        if (out / role).is_dir():
            models[role] = _describe(out / role, f"{prefix}/{role}")
    return Publication(result, artifacts, models)


def publish(session: Session, job: Job, publication: Publication) -> None:
    """Lists artifacts and models and makes the job succeed, all in the caller's transaction.

    Raises:
        StaleAttemptError: The job is not this attempt's any more; nothing is listed.
    """
    # Before all else; the end itself comes last, because others of its family wait for what it made.
    transitions.lock_held(session, job.id, job.attempt)
    made = {role: new_id("mdl") for role in publication.models}
    rows = [
        {
            "job_id": job.id,
            "attempt": job.attempt,
            "name": name,
            "media_type": MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream"),
            "size_bytes": stored.size_bytes,
            "sha256": stored.sha256,
            "storage_key": stored.key,
        }
        for name, stored in publication.artifacts.items()
    ]
    session.execute(insert(Artifact), rows)
    for role, columns in publication.models.items():
        name = model_name(job, role)
        session.execute(
            insert(Model).values(
                id=made[role],
                owner_id=job.owner_id,
                name=name,
                name_key=name_key(name),
                state="ready",
                source="job",
                role=role,
                job_id=job.id,
                format="bundle",
                validated_at=db_now(),
                **columns,
            )
        )
    transitions.apply(
        session,
        job.id,
        JobEventType.SUCCEEDED,
        attempt=job.attempt,
        data={"models": made},
        result=publication.result.model_dump(mode="json"),
        error=None,
    )
    reach("before_success_commit")


def artifact_prefix(job: Job) -> str:
    """Below which an attempt stores its artifacts."""
    return f"jobs/{job.id}/attempt-{job.attempt}"


def model_name(job: Job, role: str) -> str:
    """Name of a job's model: the id keeps it apart from those of other jobs of the same name."""
    ending = f" {role} {job.id}"
    return job.name[: MAX_NAME_CHARACTERS - len(ending)] + ending


def _sources(out: Path) -> Iterator[tuple[str, Path, str]]:
    """Name, file and expected SHA-256 of each artifact; a bundle's are those that its maker wrote down."""
    from fdkd_core.bundle.config import Manifest  # see _describe

    for name in _RUN_FILES:
        if name in _SOMETIMES and not (out / name).exists():
            continue
        yield name, out / name, sha256_file(out / name)
    report = out / "report"
    for path in sorted(report.iterdir()) if report.is_dir() else []:
        yield f"report/{path.name}", path, sha256_file(path)
    for folder in _bundles(out):
        role = folder.name
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
        for name, entry in manifest.files.items():
            yield f"{role}/{name}", folder / name, entry.sha256
        yield f"{role}/manifest.json", folder / "manifest.json", sha256_file(folder / "manifest.json")


def _bundles(out: Path) -> list[Path]:
    """Folders of models. Further teachers are only there to download; student and teacher become models."""
    further = sorted(path.name for path in out.glob("teacher[2-9]"))
    return [out / name for name in (*_ROLES, *further) if (out / name).is_dir()]


def _describe(folder: Path, storage_key: str) -> dict[str, Any]:
    # Not above: numpy and the decoders are a third of a worker's start and memory; an idle one needs neither.
    from fdkd_core.bundle import load_bundle
    from fdkd_core.bundle.folder import WEIGHTS
    from fdkd_core.bundle.report import bundle_report

    bundle = load_bundle(folder)
    assert bundle.manifest is not None  # read by _sources
    files = bundle.manifest.files
    return {
        "architecture": bundle.architecture.model_dump(mode="json"),
        "report": bundle_report(bundle),
        "size_bytes": sum(entry.bytes for entry in files.values()),
        "sha256": files[WEIGHTS].sha256,
        "storage_key": storage_key,
    }
