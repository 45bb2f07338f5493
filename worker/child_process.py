"""A child process on a leash: its own process group, its output line by line, a pulse on its input.

Trainers and validators are started this way. A child knows neither the database nor the broker: it gets a few
variables of the environment and no secrets.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from worker.idle_threads import idle_thread_variables

MAX_LINE_BYTES = 1 << 20
"""Longer lines are cut; an event of the core has a few KiB."""
_KEPT_VARIABLES = frozenset(
    {
        "PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD",
        "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX",
        "GOMP_SPINCOUNT", "OMP_WAIT_POLICY",
    }
)  # fmt: skip
_KEPT_PREFIXES = ("CUDA_", "NVIDIA_", "NCCL_", "PYTORCH_", "TORCH_")

LineSink = Callable[[bytes], None]


def child_environment(temporary: Path) -> dict[str, str]:
    """The environment of a child: what Python, torch and the GPU driver need, and nothing of ours.

    Args:
        temporary: Where its temporary files go, so that they are removed with the attempt.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    }
    return (
        kept
        | idle_thread_variables(kept)
        | {
            "TMPDIR": str(temporary),
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "PYTHONUNBUFFERED": "1",
            # It works in a folder with users' files; no module must be found there.
            "PYTHONSAFEPATH": "1",
        }
    )


class ChildProcess:
    """A running child. The thread that starts it must outlive it: the kernel ties the child to that thread.

    Args:
        command: What to run. `{events_fd}` in an argument becomes the number of a descriptor to write to.
        folder: Where it works.
        environment: All of its environment.
        on_line: Is given each line of standard error, without its end, in a thread.
        on_event: Is given each line of the events descriptor, in another thread.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self,
        command: list[str],
        *,
        folder: Path,
        environment: dict[str, str],
        on_line: LineSink,
        on_event: LineSink | None = None,
    ) -> None:
        reading, writing = os.pipe()
        self.events_fd = writing
        """Number of the events descriptor in the child."""
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                [part.replace("{events_fd}", str(writing)) for part in command],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[writing] if on_event else [],
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._pulse = threading.Lock()
        self._beaten_at = time.monotonic()
        self._longest_pause_s = 0.0
        self._readers = [_read_lines(self._process.stderr, on_line, "trainer-errors")]
        if on_event is not None:
            self._readers.append(_read_lines(os.fdopen(reading, "rb"), on_event, "trainer-events"))
        else:
            os.close(reading)

    @property
    def pid(self) -> int:
        """Of the child, which leads its process group."""
        return self._process.pid

    def wait(self, timeout_s: float) -> int | None:
        """The exit status, negative for a signal; None when it still runs after `timeout_s` seconds."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    @property
    def longest_pause_s(self) -> float:
        """Longest time without a beat so far, in seconds: a child ends itself after one that is too long."""
        return max(self._longest_pause_s, time.monotonic() - self._beaten_at)

    def beat(self) -> None:
        """One beat of the pulse by which the child knows that it still has a worker."""
        assert self._process.stdin is not None
        self._longest_pause_s, self._beaten_at = self.longest_pause_s, time.monotonic()
        # A full pipe is a child that does not read, a broken one a child that ended: neither is news here.
        with self._pulse, contextlib.suppress(OSError, ValueError):
            os.write(self._process.stdin.fileno(), b".")

    def tell(self, line: bytes) -> None:
        """Writes a line to the child's standard input, before the first beat.

        Raises:
            OSError: It has ended.
        """
        assert self._process.stdin is not None
        self._longest_pause_s, self._beaten_at = 0.0, time.monotonic()
        with self._pulse:
            written = os.write(self._process.stdin.fileno(), line + b"\n")
        if written != len(line) + 1:  # an empty pipe takes 64 KiB at once
            raise OSError("the line is too long for a pipe")

    def ask_to_stop(self) -> None:
        """Asks for a checkpoint and an end, by SIGTERM."""
        # The leader alone: its decoding children would die in the middle of a value.
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the whole process group at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends what is left of the group and takes in the last lines."""
        self.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(5)
        assert self._process.stdin is not None
        with self._pulse, contextlib.suppress(OSError):
            self._process.stdin.close()


def _read_lines(stream: IO[bytes], sink: LineSink, name: str) -> threading.Thread:
    def read() -> None:
        with stream:
            is_rest = False
            while line := stream.readline(MAX_LINE_BYTES):
                if not is_rest:
                    sink(line.rstrip(b"\r\n"))
                is_rest = not line.endswith(b"\n")

    thread = threading.Thread(target=read, name=name, daemon=True)
    thread.start()
    return thread
