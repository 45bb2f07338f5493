"""Removing files that no row speaks of any more: of processes that died, of attempts that came too late.

It reads folders instead of asking `service.storage`, which keeps no times; an object store has rules of its
own for what nobody refers to.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import aliased

from service.context import Context
from service.db import db_now
from service.identifiers import Prefix, is_id
from service.jobs.states import TERMINAL, JobState
from service.tables import Artifact, Dataset, Job, Model
from service.uploads.files import remove_left_over

_log = logging.getLogger(__name__)

MIN_AGE_S = 3600
"""Younger files may belong to a row that is about to be written."""
KEEP_CHECKPOINTS_S = 7 * 24 * 3600
"""How long the checkpoints of a failed or cancelled job are kept for a retry."""
KEEP_CACHE_S = 7 * 24 * 3600
"""How long outputs of teachers are kept after they were last used: who comes back later waits a fraction of a
training for them. Until then `Settings.teacher_cache_bytes` bounds them."""
_BATCH = 500
_STORED: tuple[tuple[Prefix, type[Dataset] | type[Model]], ...] = (("ds", Dataset), ("mdl", Model))
_ATTEMPT = re.compile(r"attempt-(\d{1,9})")


def remove_orphans(context: Context) -> int:
    """Looks through working folders, storage and uploads.

    Returns:
        The number of folders and files removed.

    Raises:
        SQLAlchemyError: The database cannot be used.
    """
    num_removed = context.storage.remove_temporaries(MIN_AGE_S)
    num_removed += remove_left_over(context.database, context.settings.uploads_dir)
    num_removed += _remove_work(context)
    num_removed += _remove(_children(context.settings.teacher_cache_dir), KEEP_CACHE_S)
    num_removed += _remove_artifacts(context)
    for prefix, table in _STORED:
        folder = context.settings.storage_dir / table.__tablename__
        for batch in _batches(path for path in _children(folder) if is_id(path.name, prefix)):
            with context.database.read() as session:
                alive = table.id.in_([path.name for path in batch]) & table.deleted_at.is_(None)
                kept = set(session.scalars(select(table.id).where(alive)))
            num_removed += _remove(path for path in batch if path.name not in kept)
    if num_removed:
        _log.info("removed %d files and folders that nothing refers to", num_removed)
    return num_removed


def _remove_work(context: Context) -> int:
    """Folders of attempts that no later attempt and no retry will go on from."""
    num_removed = _remove(
        path for path in _children(context.settings.work_dir) if path.name.startswith("validation-")
    )
    jobs = (path for path in _children(context.settings.work_dir) if is_id(path.name, "job"))
    for batch in _batches(jobs):
        with context.database.read() as session:
            wanted = Job.id.in_([path.name for path in batch]) & _is_work_wanted()
            found = session.execute(select(Job.id, Job.attempt, Job.work_key).where(wanted)).all()
            lent = set(
                session.scalars(select(Job.work_key).where(_is_folder_of(path.name for path in batch)))
            )
        kept = {job_id: {f"{job_id}/attempt-{attempt}", work_key} for job_id, attempt, work_key in found}
        for work_key in filter(None, lent):
            kept.setdefault(work_key.partition("/")[0], set()).add(work_key)
        num_removed += _remove(path for path in batch if path.name not in kept)
        num_removed += _remove(
            attempt
            for path in batch
            for attempt in _children(path)
            if path.name in kept and f"{path.name}/{attempt.name}" not in kept[path.name]
        )
    return num_removed


def _is_work_wanted() -> ColumnElement[bool]:
    """Whether the job goes on, or may be gone on from."""
    parent = aliased(Job)
    # A part of a comparison can be repeated only when that has ended.
    is_recent = select(parent.id).where(
        parent.id == Job.parent_id,
        parent.state.not_in(TERMINAL) | (parent.finished_at > db_now(-KEEP_CHECKPOINTS_S)),
    )
    may_be_retried = Job.state.in_((JobState.FAILED, JobState.CANCELLED)) & (
        (Job.finished_at > db_now(-KEEP_CHECKPOINTS_S)) | is_recent.exists()
    )
    return Job.state.not_in(TERMINAL) | may_be_retried


def _is_folder_of(job_ids: Iterable[str]) -> ColumnElement[bool]:
    """Whether a job that is wanted goes on in the folder of one of these, which it repeats."""
    owner = func.substr(Job.work_key, 1, func.length(Job.id))  # ids are all of one length
    return Job.work_key.is_not(None) & owner.in_(list(job_ids)) & _is_work_wanted()


def _remove_artifacts(context: Context) -> int:
    """What attempts stored that did not become the job's result, and all of jobs that were deleted."""
    num_removed = 0
    jobs = context.settings.storage_dir / "jobs"
    for batch in _batches(path for path in _children(jobs) if is_id(path.name, "job")):
        ids = [path.name for path in batch]
        with context.database.read() as session:
            there = set(session.scalars(select(Job.id).where(Job.id.in_(ids))))
            listed = select(Artifact.job_id, Artifact.attempt).where(Artifact.job_id.in_(ids)).distinct()
            running = select(Job.id, Job.attempt).where(Job.id.in_(ids), Job.state == JobState.RUNNING)
            kept = {(*row,) for statement in (listed, running) for row in session.execute(statement)}
        num_removed += _remove(path for path in batch if path.name not in there)
        num_removed += _remove(
            folder
            for path in batch
            for folder in _children(path)
            if path.name in there
            and (number := _ATTEMPT.fullmatch(folder.name))
            and (path.name, int(number[1])) not in kept
        )
    return num_removed


def _children(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except (FileNotFoundError, NotADirectoryError):
        return


def _batches(paths: Iterable[Path]) -> Iterator[list[Path]]:
    iterator = iter(paths)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _remove(paths: Iterable[Path], min_age_s: float = MIN_AGE_S) -> int:
    """Removes those that are old enough; returns how many."""
    num_removed = 0
    for path in paths:
        try:
            if path.lstat().st_mtime > time.time() - min_age_s:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            num_removed += 1
        except OSError:
            continue  # another sweep is at it too, or its owner came back; the next sweep sees
    return num_removed
