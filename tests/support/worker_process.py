"""A real worker process under test, and the trainers that it may start."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from warm_process import WarmProcess

SUPPORT = Path(__file__).parent
SCRIPTED = [sys.executable, str(SUPPORT / "scripted_trainer.py")]
MISBEHAVING = [sys.executable, str(SUPPORT / "misbehaving_trainer.py")]
REAL = [sys.executable, "-m", "worker.trainer"]


@dataclass
class WorkerUnderTest:
    """A worker process, its log and its trainers."""

    process: WarmProcess
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def trainers(self) -> list[psutil.Process]:
        try:
            found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return found

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def stop(self, timeout_s: float = 30) -> int:
        """Ends it as a deploy would; returns its exit status."""
        if self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
        return self.process.wait(timeout_s)


def is_alive(pid: int) -> bool:
    """A zombie, whose parent may be frozen, is not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running(worker: WorkerUnderTest) -> Iterator[WorkerUnderTest]:
    """Stops the worker at the end, and checks that it did so cleanly."""
    yield worker
    assert worker.stop() == 0, worker.log
