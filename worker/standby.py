"""Starting trainers, and keeping one on standby that has done its imports when the next job comes.

Importing torch and the core takes longer than a small job trains. A trainer on standby has done it; it is
given its assignment by a line on its standard input, runs that one job and ends, like any other: no two jobs
share a process.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from service.settings import Settings
from worker.child_process import ChildProcess, LineSink, child_environment
from worker.stall import longest_pause_s

EVENTS_FD = "{events_fd}"
"""In an argument, becomes the number of the descriptor that events go to."""


class Trainers:
    """The trainers of one slot. Used by its thread alone: the kernel ties each to the thread that started it.

    Args:
        settings: Of the worker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # What a test puts in a trainer's place knows nothing of standing by.
        is_ours = settings.trainer_command == Settings.model_fields["trainer_command"].default
        self._keeps_one = settings.trainer_standby and is_ours
        self._next: _Standby | None = None

    def start(
        self, arguments: list[str], *, folder: Path, temporary: Path, on_line: LineSink, on_event: LineSink
    ) -> ChildProcess:
        """Starts a trainer, or gives the one on standby its assignment.

        Args:
            arguments: Of the core, with `EVENTS_FD` in the place of the descriptor.
            folder: Where it works.
            temporary: Where its temporary files go.
            on_line: Is given each line of standard error.
            on_event: Is given each event.

        Raises:
            OSError: It cannot be started.
        """
        standby, self._next = self._next, None
        if standby is not None:
            assigned = standby.assign(arguments, folder, temporary, on_line, on_event)
            if assigned is not None:
                return assigned
        return ChildProcess(
            [*self._command(), "--", *arguments],
            folder=folder,
            environment=child_environment(temporary),
            on_line=on_line,
            on_event=on_event,
        )

    def prepare(self) -> None:
        """Puts a trainer on standby, unless there is one or none is wanted."""
        if self._keeps_one and self._next is None:
            try:
                self._next = _Standby([*self._command(), "--standby"], self._settings.data_dir)
            except OSError:
                self._next = None  # the next job starts one of its own, and says what is wrong

    def close(self) -> None:
        """Ends the one on standby."""
        if self._next is not None:
            self._next.child.close()
            self._next = None

    def _command(self) -> list[str]:
        settings = self._settings
        silence_s = str(longest_pause_s(settings))
        command = [*settings.trainer_command, "--worker-pid", str(os.getpid()), "--silence-s", silence_s]
        if settings.trainer_memory_bytes is not None:
            command += ["--memory-bytes", str(settings.trainer_memory_bytes)]
        return command


class _Standby:
    """A trainer without a job."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._on_line: LineSink = lambda line: None
        self._on_event: LineSink = lambda event: None
        self.child = ChildProcess(
            command,
            folder=folder,
            environment=child_environment(folder),
            on_line=lambda line: self._on_line(line),
            on_event=lambda event: self._on_event(event),
        )

    def assign(
        self, arguments: list[str], folder: Path, temporary: Path, on_line: LineSink, on_event: LineSink
    ) -> ChildProcess | None:
        """Gives it its job; None when it has ended, whatever for."""
        self._on_line, self._on_event = on_line, on_event
        number = str(self.child.events_fd)
        assignment = {
            "folder": str(folder),
            "temporary": str(temporary),
            "arguments": [part.replace(EVENTS_FD, number) for part in arguments],
        }
        try:
            self.child.tell(json.dumps(assignment).encode())
        except OSError:
            self.child.close()
            return None
        return self.child
