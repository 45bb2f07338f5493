"""Reading uploads for the first time: a thread of its own, so that no training delays it."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from fdkd_core.errors import OutOfMemoryError, StorageError
from service import validations
from service.context import Context
from service.errors import StaleAttemptError
from service.validations import Claim
from worker.child_process import ChildProcess, child_environment
from worker.database_patience import persist
from worker.observation import LAST_LINES
from worker.outcomes import EXIT_BAD_INPUT, EXIT_DONE, MAX_PROBLEMS
from worker.polling import Bell

_log = logging.getLogger(__name__)
TICK_S = 0.1
MAX_REPORT_BYTES = 32 << 20
CPU_PER_WALL_S = 4
"""Readers may use several cores; beyond this share of the time limit one is busy doing harm."""

TIMED_OUT = -100
"""In place of an exit status."""
_MESSAGES = {
    TIMED_OUT: ("timed_out", "Reading the file took longer than this service allows."),
    OutOfMemoryError.exit_code: (
        OutOfMemoryError.code,
        "Reading the file needs more memory than this service allows.",
    ),
}

T = TypeVar("T")


class _NoAnswerError(Exception):
    """The child ended without an answer."""

    def __init__(self, message: str, *, is_charged: bool = True) -> None:
        super().__init__(message)
        self.is_charged = is_charged


@dataclass(frozen=True)
class _Answer:
    report: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    columns: dict[str, Any] = field(default_factory=dict)


class ValidationSlot:
    """Takes uploads one after the other.

    Args:
        context: Settings, database, storage; `stopping` ends the slot.
        worker_id: Of this process.
        bell: Rung when an upload waits.
        poll_s: Time between two looks without a ring, in seconds.
    """

    def __init__(self, context: Context, worker_id: str, bell: Bell, poll_s: float) -> None:
        self._context = context
        self._settings = context.settings
        self._worker_id = worker_id
        self._bell = bell
        self._poll_s = poll_s

    def run(self) -> None:
        """Takes uploads until the worker is to end."""
        stopping = self._context.stopping
        while not stopping.is_set():
            heard = self._bell.num_rings
            if not self.run_next() and not stopping.is_set():
                self._bell.wait(heard, self._poll_s)

    def run_next(self) -> bool:
        """Takes an upload if one waits, and sees it through; returns whether there was one."""
        try:
            with self._context.database.read() as session:
                if not validations.waiting(session, 0):
                    return False
            with self._context.database.write() as session:
                claim = validations.claim(session, self._worker_id, self._settings.lease_s)
        except (DBAPIError, PoolTimeoutError) as error:
            _log.warning("cannot look for uploads: %s", type(error).__name__)
            return False
        if claim is None:
            return False
        folder = self._settings.work_dir / f"validation-{claim.id}-{claim.attempt}"
        try:
            self._see_through(claim, folder)
        except StaleAttemptError:
            _log.warning("fenced: the validation of %s is not ours any more", claim.id)
        except Exception:
            # The lease ends by itself; another try follows, or the last one was this.
            _log.exception("the validation of %s failed in the worker", claim.id)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return True

    def _see_through(self, claim: Claim, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("cache", "tmp"):
            (folder / name).mkdir(mode=0o700, parents=True)
        upload = folder / Path(claim.storage_key).name
        self._context.storage.fetch(claim.storage_key, upload)
        try:
            answer = self._read_answer(claim, folder, self._watch(claim, folder, upload))
        except _NoAnswerError as error:
            _log.warning("the validation of %s came to nothing: %s", claim.id, error)
            if error.is_charged:
                # An early end of the lease: the row waits again, and remembers the loss by its attempt.
                wait_s = min(self._settings.retry_backoff_s, self._settings.lease_s)
                self._write(lambda session: validations.renew(session, claim, wait_s))
            else:
                self._write(lambda session: validations.release(session, claim))
                self._context.stopping.wait(self._settings.retry_backoff_s)
            return
        self._write(
            lambda session: validations.finish(
                session, claim, report=answer.report, error=answer.error, **answer.columns
            )
        )
        if "storage_key" in answer.columns:
            self._context.storage.delete(claim.storage_key)  # the archive, which is unpacked now
        _log.info("%s is %s", claim.id, "ready" if answer.error is None else "invalid")

    def _watch(self, claim: Claim, folder: Path, upload: Path) -> int:
        """Runs the child, keeping the claim; returns its exit status.

        Raises:
            StaleAttemptError: The claim was lost, or the upload deleted.
            _NoAnswerError: It crashed, or the worker is to end.
        """
        last_lines: deque[str] = deque(maxlen=LAST_LINES)
        child = ChildProcess(
            self._command(claim, upload),
            folder=folder,
            environment=child_environment(folder / "tmp"),
            on_line=lambda line: last_lines.append(line.decode("utf-8", "replace")),
        )
        try:
            started = renewed = time.monotonic()
            while (status := child.wait(TICK_S)) is None:
                now = time.monotonic()
                if self._context.stopping.is_set():
                    raise _NoAnswerError("the worker is shutting down", is_charged=False)
                if now - started > self._settings.validation_timeout_s:
                    return TIMED_OUT
                if now - renewed >= self._settings.heartbeat_s:
                    self._write(lambda session: validations.renew(session, claim, self._settings.lease_s))
                    renewed = now
                    child.beat()
        finally:
            child.close()
        if status not in (EXIT_DONE, EXIT_BAD_INPUT, OutOfMemoryError.exit_code):
            message = f"exit status {status}: {' '.join(last_lines)[-500:]}"
            raise _NoAnswerError(message, is_charged=status != StorageError.exit_code)
        return status

    def _command(self, claim: Claim, upload: Path) -> list[str]:
        settings = self._settings
        command = [
            sys.executable, "-m", "worker.validator",
            "--worker-pid", str(os.getpid()),
            "--silence-s", str(settings.lease_s + settings.stop_grace_s),
            "--memory-bytes", str(settings.validation_memory_bytes),
            "--cpu-s", str(math.ceil(CPU_PER_WALL_S * settings.validation_timeout_s)),
            "--", claim.subject, upload.name, "--out", "report.json",
        ]  # fmt: skip
        if claim.subject == "dataset":
            return [*command, "--cache-dir", "cache"]
        if claim.architecture is not None:
            return [*command, "--architecture", json.dumps(claim.architecture)]
        return [*command, "--unpack", "unpacked"]

    def _read_answer(self, claim: Claim, folder: Path, status: int) -> _Answer:
        """What the child wrote, and for a bundle the checked files, stored."""
        if status in _MESSAGES:
            code, message = _MESSAGES[status]
            return _Answer(error={"code": code, "message": message, "problems": []})
        path = folder / "report.json"
        if path.stat().st_size > MAX_REPORT_BYTES:
            raise _NoAnswerError("the report is too large")
        report = json.loads(path.read_bytes())
        if status == EXIT_BAD_INPUT:
            problems = report["problems"][:MAX_PROBLEMS]
            message = "; ".join(problem["detail"] for problem in problems[:3])
            return _Answer(error={"code": report["code"], "message": message, "problems": problems})
        columns: dict[str, Any] = {}
        if claim.subject == "model":
            columns["architecture"] = report["architecture"]
        if (folder / "unpacked").is_dir():
            columns["storage_key"] = self._store_bundle(claim, folder / "unpacked")
        return _Answer(report=report, columns=columns)

    def _store_bundle(self, claim: Claim, unpacked: Path) -> str:
        prefix = f"models/{claim.id}/bundle"
        for path in sorted(unpacked.iterdir()):
            self._context.storage.put(f"{prefix}/{path.name}", path)
        return prefix

    def _write(self, use: Callable[[Session], T]) -> T:
        def once() -> T:
            with self._context.database.write() as session:
                return use(session)

        patience_ends = time.monotonic() + self._settings.lease_s
        return persist(
            once, until=lambda: patience_ends, stop=self._context.stopping, what="write a validation"
        )
