"""Processes that have torch already: forked off a server that imported it once.

They are what a command line starts, with memory, signals and an exit status of their own, but for the seconds
that importing takes. Whether the command itself can be started is another test's business.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["fdkd_core.__main__", "fdkd_core.run", "fdkd_client.cli"])


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


def _call(
    function: Callable[[list[str]], Any], arguments: list[str], streams: list[Path], env: Mapping[str, str]
) -> None:
    os.environ.clear()
    os.environ.update(env)
    for descriptor, path in enumerate(streams):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_APPEND if descriptor else 0))
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = os.fdopen(os.dup(0))
    sys.stdout, sys.stderr = (os.fdopen(os.dup(descriptor), "w", buffering=1) for descriptor in (1, 2))
    sys.exit(function(arguments))
