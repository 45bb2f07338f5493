"""Processes that have torch already: forked off a server that imported it once.

They are what a command line starts, with memory, signals and an exit status of their own, but for the seconds
that importing takes. Whether the command itself can be started is another test's business.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "fdkd_core.__main__",
        "fdkd_core.run",
        "fdkd_client.cli",
        "service.__main__",
        "service.app",
        "worker.__main__",
    ]
)


class WarmProcess:
    """What `subprocess.Popen` is for a command: a process in a session of its own, all output in one file.

    Args:
        main: What its module calls as `__main__`; it finds the arguments in `sys.argv`.
        env: All variables of its environment.
        log: Where standard output and standard error go, behind what is there.
    """

    def __init__(
        self, main: Callable[[], Any], *arguments: str, env: Mapping[str, str], log: str | os.PathLike[str]
    ) -> None:
        Path(log).touch()  # to be read from now on
        streams = [Path(os.devnull), Path(log), Path(log)]
        self._process = _SERVER.Process(
            target=_become, args=(main, [main.__module__, *arguments], streams, dict(env)), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, a signal's number below 0; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """`returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end; returns the exit status.

        Raises:
            subprocess.TimeoutExpired: It runs on.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """To the process, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it without asking."""
        self.send_signal(signal.SIGKILL)


def run_warm(
    function: Callable[[list[str]], Any],
    *arguments: object,
    stdin: str = "",
    timeout_s: float = 120,
    **env: str,
) -> subprocess.CompletedProcess[str]:
    """Calls a function of a module with command-line arguments; what it returns is the exit status.

    Raises:
        TimeoutError: It did not end in time, and was killed.
    """
    told = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(stdin)
        process = _SERVER.Process(target=_call, args=(function, told, streams, {**os.environ, **env}))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{function.__module__} {told} did not end")
        stdout, stderr = (path.read_text() if path.exists() else "" for path in streams[1:])
        return subprocess.CompletedProcess(told, process.exitcode, stdout, stderr)


def _become(main: Callable[[], Any], argv: list[str], streams: list[Path], env: Mapping[str, str]) -> None:
    os.setsid()
    sys.argv[:] = argv
    _take(streams, env)
    sys.exit(main())


def _call(
    function: Callable[[list[str]], Any], arguments: list[str], streams: list[Path], env: Mapping[str, str]
) -> None:
    _take(streams, env)
    sys.exit(function(arguments))


def _take(streams: list[Path], env: Mapping[str, str]) -> None:
    """Makes environment and standard streams those of a new process."""
    os.environ.clear()
    os.environ.update(env)
    for descriptor, path in enumerate(streams):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_APPEND if descriptor else 0))
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = os.fdopen(os.dup(0))
    sys.stdout, sys.stderr = (os.fdopen(os.dup(descriptor), "w", buffering=1) for descriptor in (1, 2))
