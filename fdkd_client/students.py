"""What jobs made, on this machine: `client.students`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from fdkd_client.downloads import fetch_artifact, file_sha256, safe_name
from fdkd_client.errors import LocalFileError
from fdkd_client.figures import ComparisonFigures
from fdkd_client.jobs import Jobs
from fdkd_client.results import Artifact, Job
from fdkd_client.transport import Transport, segment

OnBytes = Callable[[int, int], object]
"""Called with bytes that came and bytes in all."""


class Students:
    """Students of succeeded jobs."""

    def __init__(self, transport: Transport, jobs: Jobs) -> None:
        self._transport = transport
        self._jobs = jobs

    def download(
        self, job: Job | str, folder: str | os.PathLike[str], *, on_progress: OnBytes | None = None
    ) -> Path:
        """Downloads the student of a job as a bundle for `fdkd_core.load_student`.

        Files are gathered beside the folder, which appears complete or not at all; called again after it was
        stopped, it goes on where it was. A folder that has this very student already is left as it is.

        Args:
            job: Or its id.
            folder: Must not exist, be empty, or have this student.
            on_progress: Called as bytes come.

        Returns:
            The folder.

        Raises:
            LocalFileError: The folder holds something else, or cannot be written; or the job has no student.
            IntegrityError: What came is not what was announced.
            NotFoundError: There is no such job.
        """
        job_id = job if isinstance(job, str) else job.id
        files = self._files(job_id)
        target = Path(folder).absolute()
        if _holds(target, files):
            return target
        if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
            raise LocalFileError(f"{target} is there already and is not this student; name another folder.")
        staging = target.with_name(f".{target.name}.{job_id[-12:]}.partial")
        if staging.is_symlink():
            raise LocalFileError(f"{staging} is a link; remove it.")
        _fetch_all(self._transport, f"jobs/{segment(job_id)}", files, staging, on_progress)
        try:
            staging.rename(target)
        except OSError as error:
            raise LocalFileError(f"{target} cannot be made: {error.strerror}") from error
        return target

    def _files(self, job_id: str) -> dict[str, Artifact]:
        """Artifacts of the student by their name in its folder."""
        found: dict[str, Artifact] = {}
        for artifact in self._jobs.artifacts(job_id):
            name = safe_name(artifact.name)  # one bad name spoils the lot
            if name.parts[0] == "student" and len(name.parts) > 1:
                found["/".join(name.parts[1:])] = artifact
        if not found:
            job = self._jobs.get(job_id)
            told = f"The job {job_id} has no student to download; it is {job.state}."
            if isinstance(job.result, ComparisonFigures):
                told = f"The job {job_id} is a comparison, whose students are those of its jobs."
                for child in self._jobs.children(job):
                    if child.name == job.result.best:
                        told += f" The best is that of {child.id}."
            raise LocalFileError(told)
        return found


def _fetch_all(
    transport: Transport,
    job_path: str,
    files: dict[str, Artifact],
    staging: Path,
    on_progress: OnBytes | None,
) -> None:
    total = sum(artifact.size_bytes for artifact in files.values())
    come = 0

    def count(size: int) -> None:
        nonlocal come
        come += size
        if on_progress is not None:
            on_progress(min(come, total), total)

    try:
        staging.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalFileError(f"{staging.parent} cannot be written: {error.strerror}") from error
    for name, artifact in files.items():
        path = staging / name
        if path.is_file() and not path.is_symlink() and file_sha256(path) == artifact.sha256:
            count(artifact.size_bytes)
        else:
            fetch_artifact(transport, job_path, artifact, path, on_bytes=count)
    _drop_strangers(staging, set(files))


def _drop_strangers(staging: Path, wanted: set[str]) -> None:
    """Removes what earlier tries left that does not belong to the bundle, which must hold nothing else."""
    for path in sorted(staging.rglob("*"), reverse=True):
        name = path.relative_to(staging).as_posix()
        if path.is_dir() and not path.is_symlink():
            if not any(wanted_name.startswith(name + "/") for wanted_name in wanted):
                shutil.rmtree(path)
        elif name not in wanted:
            path.unlink()


def _holds(folder: Path, files: dict[str, Artifact]) -> bool:
    """Whether the folder has these files, with these bytes, and nothing else."""
    if not folder.is_dir():
        return False
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return set(present) == set(files) and all(
        path.stat().st_size == files[name].size_bytes and file_sha256(path) == files[name].sha256
        for name, path in present.items()
    )
