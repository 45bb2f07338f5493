"""Keeps processes running until it is asked to stop; then none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

GRACE_S = 9.0
"""From SIGTERM to SIGKILL. A worker takes up to 8 s to have its checkpoint written; a person waits 10."""
_TICK_S = 0.1
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_SETTLED_S = 60.0
"""Whoever lived so long starts again without a pause."""


class StopRequest:
    """Notes the signals that ask for the end: Ctrl-C, SIGTERM, and the terminal's SIGHUP."""

    def __init__(self) -> None:
        self.times = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.times += 1


@dataclass
class Child:
    """A process that should be there."""

    name: str
    module: str
    arguments: Sequence[str] = ()
    pass_fds: Sequence[int] = ()
    is_essential: bool = False
    """Whether there is no point in going on when it fails three times in a row."""
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float = field(default=0.0)
    """On the monotonic clock, when it is not running."""


class Supervisor:
    """Starts children, starts them again when they die, and stops them.

    Children have sessions of their own, so that Ctrl-C at a terminal reaches them as the SIGTERM that lets
    workers write their checkpoints.
    """

    def __init__(
        self, environment: Mapping[str, str], stop: StopRequest, say: Callable[[str], object]
    ) -> None:
        """Args: environment: Of the children. stop: Watched all the time. say: Takes news for a person."""
        self._environment = dict(environment)
        self._stop = stop
        self._say = say
        self._children: list[Child] = []

    @property
    def should_stop(self) -> bool:
        """Whether the end was asked for."""
        return self._stop.times > 0

    def start(self, child: Child) -> None:
        """Starts a child, and from now on keeps it running."""
        if child not in self._children:
            self._children.append(child)
        command = [sys.executable, "-m", "fdkd_client.serve.tethered", str(os.getpid())]
        child.process = subprocess.Popen(  # noqa: S603 - our own modules
            [*command, child.module, *child.arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what a person should know of them goes to standard error
            pass_fds=tuple(child.pass_fds),
            start_new_session=True,
        )
        child.started_at = time.monotonic()

    def run_once(self, child: Child) -> int | None:
        """Runs a child to its end.

        Returns:
            Its exit status, or None when the end of everything was asked for meanwhile.
        """
        self.start(child)
        assert child.process is not None
        while child.process.poll() is None and not self.should_stop:
            time.sleep(_TICK_S)
        if child.process.poll() is None:
            return None
        self._children.remove(child)
        return child.process.returncode

    def watch(self) -> bool:
        """Keeps the children running until the end is asked for.

        Returns:
            False when an essential child cannot be kept running.
        """
        while not self.should_stop:
            for child in self._children:
                if not self._keep_running(child):
                    return False
            time.sleep(_TICK_S)
        return True

    def stop(self) -> None:
        """Asks every child to end and waits `GRACE_S` seconds; where that is asked twice, no longer."""
        asked_before = self._stop.times
        for child in self._running():
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while self._running() and time.monotonic() < deadline and self._stop.times <= max(asked_before, 1):
            time.sleep(_TICK_S / 2)
        for child in self._running():
            self._say(f"{child.name} does not end; killed")
            _signal(child, signal.SIGKILL)
        for child in self._children:
            if child.process is not None:
                child.process.wait()

    def _running(self) -> list[Child]:
        return [child for child in self._children if child.process and child.process.poll() is None]

    def _keep_running(self, child: Child) -> bool:
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_at:
                self.start(child)
            return True
        status = child.process.poll()
        if status is None:
            return True
        child.failures = 1 if now - child.started_at > _SETTLED_S else child.failures + 1
        if child.is_essential and child.failures >= 3:
            self._say(f"{child.name} ended {child.failures} times in a row, {_ending(status)}; giving up")
            return False
        pause_s = min(_FIRST_PAUSE_S * 2.0 ** (child.failures - 1), _LONGEST_PAUSE_S)
        self._say(f"{child.name} ended, {_ending(status)}; starting it again in {pause_s:g} s")
        child.process, child.start_at = None, now + pause_s
        return True


def _signal(child: Child, number: int) -> None:
    """To the child; SIGKILL to its whole process group, of which it is the head."""
    assert child.process is not None
    try:
        if number == signal.SIGKILL:
            os.killpg(child.process.pid, number)
        else:
            child.process.send_signal(number)
    except (ProcessLookupError, PermissionError):
        child.process.send_signal(number)


def _ending(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
