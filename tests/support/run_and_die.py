"""Runs the small job in this process and kills it, as hard as can be, at a chosen moment.

    run_and_die.py DATA OUT MOMENT [SPEC.json]

MOMENT: `never`; `PHASE:STEP`, before that step; `PHASE:checkpoint`, right after the first checkpoint is on
disk; `finalise`, before the test split is read; `bundle`, between the bundle and the result.
Prints a line per event, so that the caller can see that the moment was reached.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from small_job import small_spec

from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import parse_spec
from fdkd_core.training import checkpoint
from fdkd_core.workspace import Workspace


def die() -> None:
    print("dying", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: list[str]) -> None:
    data, out, moment, *rest = arguments
    spec = parse_spec(Path(rest[0]).read_bytes()) if rest else small_spec()
    phase, step = "", 0
    checkpoint.MIN_COST_RATIO = 0.0  # checkpoints exactly where the spec puts them

    def on_event(event: dict[str, Any]) -> None:
        nonlocal phase, step
        print(event["event"], event.get("phase", ""), event.get("step", ""), flush=True)
        if event["event"] == "phase_started":
            phase, step = event["phase"], event["step"]
            if moment == phase == "finalise":
                die()
        if event["event"] == "checkpoint" and moment == f"{event['phase']}:checkpoint":
            die()

    def should_stop() -> bool:
        nonlocal step
        if moment == f"{phase}:{step}":
            die()
        step += 1
        return False

    if moment == "bundle":
        Workspace.finish = lambda self, result: die()  # type: ignore[method-assign, assignment]
    run(
        spec, Path(data), Path(out),
        options=RunOptions(device="cpu", threads=1), on_event=on_event, should_stop=should_stop,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
