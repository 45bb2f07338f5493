"""`fdkd serve` as a process of its own, with everything it keeps below one folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
from fdkd_command import FDKD

VARIABLES = ("FDKD_URL", "FDKD_API_KEY", "FDKD_DATA_DIR", "FDKD_DATABASE_URL", "FDKD_BROKER_URL")


class LocalServer:
    """Starts at once; `stop` or `kill` it."""

    def __init__(self, folder: Path, *arguments: str, port: int = 0, **settings: str) -> None:
        """Keyword arguments are further variables of its environment."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data_dir = folder / "data"
        self.note = folder / "state" / "fdkd" / "local-server.json"
        self.log = folder / "serve.log"
        outside = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self.environment = {
            **outside,
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "share"),
            "FDKD_DEVICE": "cpu",
            "FDKD_TRAINER_THREADS": "1",
            "FDKD_TRAINER_STANDBY": "false",
            **settings,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [FDKD, "serve", "--port", str(port), "--data-dir", self.data_dir, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self.wait_until_ready()
        except BaseException:
            self.kill()
            raise
        content = json.loads(self.note.read_text())
        self.url: str = content["url"]
        self.key: str = content["api_key"]
        self.port = int(self.url.rpartition(":")[2])

    def wait_until_ready(self, timeout_s: float = 60) -> None:
        """Until it can be found."""
        deadline = time.monotonic() + timeout_s
        while not (self.note.exists() and json.loads(self.note.read_text())["pid"] == self.process.pid):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def processes(self) -> list[psutil.Process]:
        """Everything it started, at any remove."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, *words: str, timeout_s: float = 20) -> psutil.Process:
        """The child whose command line has these words, as soon as there is one."""
        deadline = time.monotonic() + timeout_s
        while True:
            for process in self.processes():
                try:
                    if all(word in process.cmdline() for word in words):
                        return process
                except psutil.NoSuchProcess:
                    continue
            assert time.monotonic() < deadline, f"no child {words}: {self.log.read_text()}"
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT, timeout_s: float = 30) -> float:
        """Asks it to end; the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout_s)
        return time.monotonic() - started

    def kill(self) -> None:
        """Ends it, and whatever is left of it, without asking."""
        left = self.processes() if self.process.poll() is None else []
        for process in (self.process, *left):
            try:
                process.kill()
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
        self.process.wait()

    def close(self) -> None:
        """Ends it if it still runs."""
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()


def wait_until_gone(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those that are still there after so many seconds."""
    _, left = psutil.wait_procs(processes, timeout=timeout_s)
    return list(left)
