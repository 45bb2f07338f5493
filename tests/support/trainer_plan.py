"""What a test's trainer is to do wrong, and when: written in the name of its job.

    kill@student:7           before step 7 of the phase, in the first attempt
    hang@student:3 until=9   in every attempt up to the ninth
    kill@student:5#2         in the second attempt only
    steps=30 step_s=0.05     for the scripted trainer: how many steps, and how long each takes

Verbs: kill, segv, raise, oom (needs a limit below 16 GiB), hang, deaf (hangs and does not hear SIGTERM),
exit4 (says that the disk is full), foreign (says that the checkpoints are of another run, if there are any).
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from fdkd_core.errors import CheckpointError, StorageError

_VERB = re.compile(r"(kill|segv|raise|oom|hang|deaf|exit4|foreign)@([a-z]+(?::\d+)?)(?:#(\d+))?")


@dataclass
class Plan:
    """A job's plan, for the attempt that reads it."""

    faults: dict[str, str]
    """Verb by moment: `student:7`, `finalise`, `start`."""
    settings: dict[str, float] = field(default_factory=dict)

    def reach(self, moment: str) -> None:
        """Does what is planned for this moment, if anything; leaves a line in the trace first."""
        verb = self.faults.get(moment)
        if verb is None:
            return
        trace(f"fault {verb}@{moment}")
        match verb:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segv":
                ctypes.string_at(0)
            case "raise":
                raise RuntimeError("planned by the test")
            case "oom":
                bytearray(16 << 30)
            case "foreign" if Path("out/work").exists():
                raise CheckpointError("planned by the test")
            case "exit4":
                raise StorageError("planned by the test")
            case "deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(1e6)
            case "hang":
                while True:
                    time.sleep(1)


def read_plan(arguments: list[str]) -> Plan:
    """The plan in the spec that a trainer is given."""
    spec = Path(arguments[arguments.index("--") + 1])
    words = json.loads(spec.read_text())["name"].split()
    attempt = int(Path.cwd().name.removeprefix("attempt-"))
    settings = {key: float(value) for key, _, value in (word.partition("=") for word in words) if value}
    faults = {
        found[2]: found[1]
        for word in words
        if (found := _VERB.fullmatch(word))
        and (attempt == int(found[3]) if found[3] else attempt <= settings.get("until", 1))
    }
    return Plan(faults, settings)


def trace(what: str) -> None:
    """Appends a line to the trace of all trainers: job, attempt, pid, what."""
    folder = Path.cwd()
    line = f"{folder.parent.name} {folder.name.removeprefix('attempt-')} {os.getpid()} {what}\n"
    descriptor = os.open(folder.parents[2] / "trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)
