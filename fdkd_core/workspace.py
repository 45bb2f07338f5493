"""The output folder of a run: what lies where, whose it is, and that only one process works in it.

job.json           which run owns the folder (hashes of spec, data and given models), spec included
data_report.json   what was found in the data
events.jsonl       everything the run said
work/PHASE/        checkpoints, removed at the end
teacher/           bundle of the teacher this run trained, which may teach the next; teacher2/ and so on
student/           the bundle that is handed over
report/            tables and plots, where the kind of job has some
arms/LABEL/        the same again for each arm of a comparison, without a log of its own
result.json        written last: its existence means that all else is complete
refused.json       in its place when the student did not pass a gate that it had to: the same figures
report.json        only after bad input: the problems found
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fdkd_core.atomic_files import storage_errors, write_json_atomic
from fdkd_core.errors import InputError, Problem, SpecError, StorageError, quote
from fdkd_core.spec.result import Result, parse_result

_OURS = {"job.json", "data_report.json", "events.jsonl", "report.json", ".lock"}


class Workspace:
    """The output folder, opened for one run.

    Args:
        folder: Made when absent; an existing one must be empty or belong to the same run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events_path = folder / "events.jsonl"
        self.student_path = folder / "student"
        self.teacher_path = folder / "teacher"
        self.report_path = folder / "report"
        self._result_path = folder / "result.json"
        self._refused_path = folder / "refused.json"
        self._lock: int | None = None

    def claim(self, identity: dict[str, Any], spec: dict[str, Any], *, lock: bool = True) -> None:
        """Makes the folder this run's own, or joins it to resume.

        Args:
            identity: Hashes that tell this run from any other.
            spec: The resolved spec, kept for readers.
            lock: Keep other processes out; not for a folder within one that is locked.

        Raises:
            SpecError: The folder belongs to another run, holds foreign files, or is in use.
            StorageError: It cannot be written.
        """
        with _usable(self.folder):
            self._claim(identity, spec, lock=lock)

    def _claim(self, identity: dict[str, Any], spec: dict[str, Any], *, lock: bool) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise self._refusal("is not a folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        if lock:
            self._take_lock()
        job_path = self.folder / "job.json"
        if job_path.exists():
            owner = json.loads(job_path.read_text())["identity"]
            if owner != identity:
                differing = ", ".join(sorted(k for k in identity if owner.get(k) != identity[k]))
                raise self._refusal(f"belongs to another run (its {differing} differ)")
            return
        foreign = sorted(path.name for path in self.folder.iterdir() if path.name not in _OURS)
        if foreign:
            raise self._refusal(f"is not empty (it holds {foreign[0]!r})")
        write_json_atomic(job_path, {"identity": identity, "spec": spec})

    def _take_lock(self) -> None:
        self._lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            # Released by the kernel when the process ends, however it ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._refusal("is in use by another process") from None

    def _refusal(self, reason: str) -> InputError:
        return SpecError(
            Problem("output_in_use", f"the output folder {self.folder} {reason}; choose another")
        )

    def checkpoints(self, phase: str) -> Path:
        """Folder of a phase's checkpoints."""
        return self.folder / "work" / phase

    def finished_result(self) -> Result | None:
        """The result, when an earlier attempt completed the run."""
        return _read_result(self._result_path)

    def refused_result(self) -> Result | None:
        """What an earlier attempt found that ended with a `GateFailedError`."""
        return _read_result(self._refused_path)

    def write_data_report(self, report: dict[str, Any]) -> None:
        """Keeps what was found in the data."""
        write_json_atomic(self.folder / "data_report.json", report)

    def finish(self, result: Result) -> None:
        """Publishes the result."""
        write_json_atomic(self._result_path, result.model_dump(mode="json"))

    def refuse(self, result: Result) -> None:
        """Keeps the figures of a student that is not handed over."""
        write_json_atomic(self._refused_path, result.model_dump(mode="json"))

    def remove_checkpoints(self) -> None:
        """Frees the space that only an unfinished run needs."""
        shutil.rmtree(self.folder / "work", ignore_errors=True)

    def close(self) -> None:
        """Lets go of the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Says of which folder it is that it cannot be made or written, whatever the reason."""
    try:
        with storage_errors():
            yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(f"the output folder {quote(str(folder), 200)} cannot be used: {reason}") from error


def _read_result(path: Path) -> Result | None:
    try:
        return parse_result(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_problem_report(folder: Path, error: InputError) -> None:
    """Leaves `report.json` with every problem found, and nothing else.

    Raises:
        StorageError: It cannot be written.
    """
    with _usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_json_atomic(
            folder / "report.json",
            {"code": error.code, "problems": [problem.as_dict() for problem in error.problems]},
        )
