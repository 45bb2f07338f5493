"""Runs the installed `fdkd` as a person would: a process of its own, with or without a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from warm_process import run_warm

from fdkd_client import waiting
from fdkd_client.cli import main

FDKD = Path(sys.executable).with_name("fdkd")


def _main(arguments: list[str]) -> None:
    sys.argv[:] = [str(FDKD), *arguments]
    waiting.TOLD_AFTER_S = float(os.environ.get("TOLD_AFTER_S", waiting.TOLD_AFTER_S))
    main()


@dataclass
class Ran:
    """What came of it."""

    status: int
    stdout: str
    stderr: str


def fdkd(
    *arguments: str | os.PathLike[str],
    stdin: str = "",
    timeout_s: float = 120,
    told_after_s: float = waiting.TOLD_AFTER_S,
    **env: str,
) -> Ran:
    """Runs to the end, without a terminal; tells of an absent server after so long. Variables by keyword."""
    env["TOLD_AFTER_S"] = str(told_after_s)
    found = run_warm(_main, *map(os.fspath, arguments), stdin=stdin, timeout_s=timeout_s, **env)
    return Ran(found.returncode, found.stdout, found.stderr)


class Terminal:
    """`fdkd` at a terminal of so many columns, to which keys can be sent."""

    def __init__(self, *arguments: str | os.PathLike[str], columns: int = 80) -> None:
        self.text = ""
        command = [os.fsdecode(argument) for argument in (FDKD, *arguments)]
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.environ |= {"COLUMNS": str(columns), "LINES": "50", "TERM": "xterm"}
            os.execv(command[0], command)

    def read_until(self, text: str, timeout_s: float = 60) -> str:
        """Everything so far, once it holds the text."""
        deadline = time.monotonic() + timeout_s
        while text not in self.text:
            assert time.monotonic() < deadline, f"no {text!r} in {self.text!r}"
            if not self._read(0.2) and self._has_ended():
                self._read(0.2)
                assert text in self.text, f"ended without {text!r}: {self.text!r}"
        return self.text

    def press_ctrl_c(self) -> None:
        """As the key does: the terminal sends SIGINT to its foreground processes."""
        os.write(self._descriptor, b"\x03")

    def wait(self, timeout_s: float = 60) -> int:
        """The exit status."""
        deadline = time.monotonic() + timeout_s
        while not self._has_ended():
            assert time.monotonic() < deadline, f"still running: {self.text!r}"
            self._read(0.1)
        self._read(0.1)
        os.close(self._descriptor)
        return self._status

    def kill(self) -> None:
        """Ends it without asking."""
        os.kill(self.pid, signal.SIGKILL)

    def _has_ended(self) -> bool:
        if not hasattr(self, "_status"):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == 0:
                return False
            self._status = os.waitstatus_to_exitcode(status)
        return True

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._descriptor], [], [], timeout_s)[0]:
            return False
        try:
            block = os.read(self._descriptor, 1 << 16)
        except OSError:  # what a terminal says when its last process has gone
            return False
        self.text += block.decode(errors="replace")
        return bool(block)
