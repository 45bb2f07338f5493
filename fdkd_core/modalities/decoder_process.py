"""Decodes users' files in a child process: image and audio libraries are C code with a history of holes.

The child has a limit on memory, CPU time and open files, cannot write files, and sees none of our
environment. Replies are JSON and plain numbers, never pickles: a decoder that was taken over must not be
able to run code here.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdkd_core.modalities.base import RawValue, Recipe, RowError

Decode = Callable[[RawValue, Recipe], NDArray[Any]]
"""A function of a module, or a method such as `KINDS["image"].decode`: it is passed on by name."""

MEMORY_BYTES = 2 << 30
"""Address space beyond what the child has after its imports. 50 MP in colour with alpha take 200 MB, and
Pillow makes at most three copies."""
CPU_SECONDS = 30
"""Per value. A 50 MP PNG takes about 1 s, 10 minutes of FLAC about 2 s."""
OPEN_FILES = 32
MAX_CRASHES = 10
"""Children lost over one list of values before giving up: as many bad rows as are reported."""
START_SECONDS = 120
"""Until the child answers; under 1 s when the machine is not loaded."""
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")


class DecodeTask(NamedTuple):
    """What to do with values."""

    decode: Decode
    recipe: Recipe
    """Second argument of `decode`; its `input_shape` is the shape of every result."""
    dtype: np.dtype[Any]
    """Type of every result."""


class DecoderProcess:
    """One child that decodes values; started when first needed, and again after a crash.

    Not for several threads at once.

    Args:
        cpu_seconds: Allowed for one value.
    """

    def __init__(self, *, cpu_seconds: int = CPU_SECONDS) -> None:
        self._cpu_seconds = cpu_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> DecoderProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def decode(self, task: DecodeTask, values: Sequence[RawValue]) -> list[NDArray[Any] | RowError]:
        """Each value decoded, or why it is not.

        When the child dies, a new one takes the values one by one, so that only the guilty are refused,
        as `decoder_crashed`. After `MAX_CRASHES` the rest of the values are refused untried.
        """
        try:
            return self._exchange(task, values)
        except _ChildDiedError as died:
            if len(values) == 1:
                return [_crashed(died)]
        outcomes: list[NDArray[Any] | RowError] = []
        num_crashes = 0
        for value in values:
            if num_crashes == MAX_CRASHES:
                outcomes.append(RowError("decoder_crashed", "not tried, after too many crashes before it"))
                continue
            try:
                outcomes += self._exchange(task, [value])
            except _ChildDiedError as died:
                outcomes.append(_crashed(died))
                num_crashes += 1
        return outcomes

    def close(self) -> None:
        """Ends the child; the next `decode` starts another."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None

    def _exchange(self, task: DecodeTask, values: Sequence[RawValue]) -> list[NDArray[Any] | RowError]:
        connection = self._connection or self._start()
        shape = tuple(task.recipe["input_shape"])
        try:
            connection.send((*task, self._cpu_seconds, list(values)))
            # The child's own limit comes first; this one is for a child that does not run at all.
            if not connection.poll(60 + 2 * self._cpu_seconds * max(1, len(values))):
                raise _ChildDiedError(self._bury("no answer"))
            errors = json.loads(connection.recv_bytes(1 << 20))
            num_good = sum(error is None for error in errors)
            size = num_good * math.prod(shape) * task.dtype.itemsize
            content = connection.recv_bytes(size) if size else b""
        except (EOFError, OSError, ValueError):
            raise _ChildDiedError(self._bury("killed")) from None
        if len(errors) != len(values) or len(content) != size:
            raise _ChildDiedError(self._bury("broken answer"))
        arrays = iter(np.frombuffer(content, task.dtype).reshape(num_good, *shape))
        return [next(arrays) if error is None else RowError(*map(str, error)) for error in errors]

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from fdkd_core.modalities.decoder_process import serve; serve({theirs.fileno()})"
        )
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        # One thread each: there are as many children as processors to use.
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile() as complaints, theirs:
            # A plain child, not multiprocessing: that would import the caller's main module again, with
            # all of torch behind it.
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own code
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                env=environment,
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
            self._connection = ours
            try:
                if ours.poll(START_SECONDS) and ours.recv_bytes(16) == b"ready":
                    return ours
            except (EOFError, OSError):
                pass
            self.close()
            complaints.seek(0)
            said = complaints.read()[-2000:].decode(errors="replace")
        raise RuntimeError(f"the decoder process does not start: {said}")

    def _bury(self, reason: str) -> str:
        """Ends the child and says how it died."""
        process = self._process
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            if process.returncode is not None and process.returncode < 0:
                reason = signal.Signals(-process.returncode).name
        self.close()
        return reason


class _ChildDiedError(Exception):
    """The child is gone; the message says how."""


def _crashed(died: _ChildDiedError) -> RowError:
    return RowError("decoder_crashed", f"the decoder did not survive this file ({died})")


def serve(descriptor: int) -> None:
    """The child: takes tasks with their values until the parent closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us when it wants to
    with Connection(descriptor) as connection, contextlib.suppress(EOFError, ConnectionError):
        _limit_resources()
        connection.send_bytes(b"ready")
        while True:
            errors: list[tuple[str, str] | None] = []
            arrays: list[bytes] = []
            decode, recipe, dtype, cpu_seconds, values = connection.recv()  # a pickle of our parent's
            for outcome in _decode_each(decode, recipe, cpu_seconds, values):
                if isinstance(outcome, RowError):
                    errors.append((outcome.code, outcome.detail))
                else:
                    errors.append(None)
                    arrays.append(np.ascontiguousarray(outcome, dtype).tobytes())
            connection.send_bytes(json.dumps(errors).encode())
            if content := b"".join(arrays):
                connection.send_bytes(content)


def _decode_each(
    decode: Decode, recipe: Recipe, cpu_seconds: int, values: Sequence[RawValue]
) -> Iterator[NDArray[Any] | RowError]:
    for value in values:
        used = math.ceil(time.process_time())
        # Whoever started us may have limits of their own, which only root may raise.
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (_at_most(used + cpu_seconds, hard), hard))
        try:
            yield decode(value, recipe)
        except RowError as error:
            yield error
        except MemoryError:
            yield RowError("exceeds_limit", f"decoding needs more than {MEMORY_BYTES >> 20} MiB of memory")
        except Exception as error:  # whatever a library raises for this file, the next file may be fine
            yield RowError("decoder_crashed", f"the decoder failed with {type(error).__name__}")


def _limit_resources() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    try:
        with open("/proc/self/statm") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux: address space is not a measure of memory there
        return
    usable = _at_most(held + MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1])
    resource.setrlimit(resource.RLIMIT_AS, (usable, usable))


def _at_most(wanted: int, hard: int) -> int:
    """A limit of ours within one that is there already."""
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
