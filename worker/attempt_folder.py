"""The folder of one attempt, and how it takes over what the attempt before it left.

WORK_DIR/JOB_ID/attempt-N/
    inputs/   the spec, the data, the given teacher
    out/      the core's output folder (`fdkd_core.workspace`), checkpoints included
    cache/    decoded data
    tmp/

No two attempts share a folder. A frozen attempt that comes back to life can therefore only litter its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from fdkd_core.atomic_files import fsync_folder

_LEFT_BEHIND = frozenset({".lock", "report.json"})
_APPENDED = "events.jsonl"


@dataclass(frozen=True)
class AttemptFolder:
    """Where one attempt works."""

    work_dir: Path
    key: str
    """`JOB_ID/attempt-N`, as in `Job.work_key`."""

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.work_dir / self.key

    @property
    def inputs(self) -> Path:
        """What the trainer reads."""
        return self.path / "inputs"

    @property
    def out(self) -> Path:
        """What the trainer writes."""
        return self.path / "out"

    @property
    def temporary(self) -> Path:
        """For temporary files of the trainer."""
        return self.path / "tmp"

    def remove_others(self) -> None:
        """Removes the folders of the job's earlier attempts, once this one is on record as the newest."""
        for folder in self.path.parent.glob("attempt-*"):
            if folder != self.path:
                shutil.rmtree(folder, ignore_errors=True)

    def keep_only_out(self) -> None:
        """Removes what can be had again."""
        for path in (self.inputs, self.path / "cache", self.temporary):
            shutil.rmtree(path, ignore_errors=True)

    def start_over(self) -> None:
        """Forgets what was taken over."""
        shutil.rmtree(self.out, ignore_errors=True)


class NoFolderError(Exception):
    """The worker's machine has no place for a job: a fault of its own, that another worker may not have."""


def make_attempt_folder(work_dir: Path, job_id: str, attempt: int, previous: str | None) -> AttemptFolder:
    """Makes the folder of an attempt and carries over what an earlier one left.

    Args:
        work_dir: The folder of all jobs.
        job_id: The job.
        attempt: Its attempt.
        previous: `key` of the folder to go on from; it need not exist, since it may lie on another machine.

    Returns:
        The folder; `out` exists in it if there was something to take over.

    Raises:
        NoFolderError: Nothing can be made here.
        OSError: The disk is full.
    """
    folder = AttemptFolder(work_dir, f"{job_id}/attempt-{attempt}")
    # Left by an attempt of the same number, before the database was put back to an older state.
    shutil.rmtree(folder.path, ignore_errors=True)
    try:
        for path in (folder.inputs, folder.path / "cache", folder.temporary):
            path.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise NoFolderError(f"No folder for the job on this worker's machine: {error.strerror}") from error
    if previous is not None and (work_dir / previous / "out").is_dir():
        carry_over(work_dir / previous / "out", folder.out)
    return folder


def carry_over(source: Path, target: Path) -> None:
    """Copies a run's output folder while its old owner may still be writing there.

    Files that are only ever replaced are linked: whatever the old owner does, it cannot change them. What it
    deletes meanwhile is left out; the core notices an incomplete checkpoint and takes the one before.

    Raises:
        OSError: The disk is full.
    """
    # First, because it is written last: where it is found, all that it speaks of is found too.
    names = sorted(os.listdir(source), key=lambda name: name != "result.json")
    target.mkdir(mode=0o700)
    for name in names:
        if name in _LEFT_BEHIND or name.endswith(".tmp"):
            continue
        path = source / name
        if path.is_dir():
            _link_folder(path, target / name)
        elif name == _APPENDED:
            _copy_whole_lines(path, target / name)
        else:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(path, target / name, follow_symlinks=False)
    fsync_folder(target)


def _link_folder(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700)
    try:
        entries = list(os.scandir(source))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.name.startswith("tmp-") or entry.name.endswith(".tmp"):
            continue
        if entry.is_dir(follow_symlinks=False):
            _link_folder(source / entry.name, target / entry.name)
        elif entry.is_file(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError):
                _link_or_copy(source / entry.name, target / entry.name)
    fsync_folder(target)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _copy_whole_lines(source: Path, target: Path) -> None:
    """Copies a log without the half line that a killed process left."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(source, target)
        with target.open("r+b") as log:
            log.truncate(log.read().rfind(b"\n") + 1)
