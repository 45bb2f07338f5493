"""`python -m worker.trainer`: the training core in a process of its own that cannot outlive its worker.

    python -m worker.trainer --worker-pid PID --silence-s S [--memory-bytes N] -- SPEC DATA OUT [core options]
    python -m worker.trainer --worker-pid PID --silence-s S [--memory-bytes N] --standby

What follows `--` is for `fdkd_core.__main__`, whose exit codes are passed on. One more is added: 78, this
process could not even begin, which is the fault of the worker's surroundings and not of the job. On standby
it imports everything and waits for its one assignment, a line on standard input (see `worker.standby`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile

from fdkd_core.parent_death import die_with_parent
from worker.confinement import limit_memory, watch_worker

EXIT_NOT_STARTED = 78
READY = "trainer_ready"
"""The event after which whatever goes wrong is the job's."""


def main(arguments: list[str] | None = None) -> int:
    """Confines the process and runs the core; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    split = given.index("--") if "--" in given else len(given)
    options = _parser().parse_args(given[:split])
    core_arguments = given[split + 1 :]
    confine(options)
    device = "any device"
    try:
        _load_core()
        if options.standby:
            assignment = receive_assignment()
            if assignment is None:
                return 0
            core_arguments = assignment
            watch_worker(options.silence_s)
        events_fd, device = _peek(core_arguments)
        _touch(device)
    except Exception as error:
        print(f"cannot start on {device}: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_NOT_STARTED
    announce_ready(events_fd)

    from fdkd_core.__main__ import main as run_core

    return run_core(core_arguments)


def confine(options: argparse.Namespace) -> None:
    """Ties this process to its worker and bounds its memory; must come before anything slow."""
    os.umask(0o077)
    die_with_parent(options.worker_pid)
    if not options.standby:
        watch_worker(options.silence_s)
    if options.memory_bytes is not None:
        limit_memory(options.memory_bytes)


def receive_assignment() -> list[str] | None:
    """Waits for the one line that says what to run and where, and goes there.

    Returns:
        Arguments for the core; None when the worker needs this process no more.
    """
    line = b""
    while not line.endswith(b"\n"):
        # Byte by byte: what follows the line is the worker's pulse, which `watch_worker` reads.
        byte = os.read(0, 1)
        if not byte:
            return None
        line += byte
    assignment = json.loads(line)
    os.chdir(assignment["folder"])
    os.environ["TMPDIR"] = assignment["temporary"]
    tempfile.tempdir = None  # else what imports asked for stays
    arguments: list[str] = assignment["arguments"]
    return arguments


def announce_ready(events_fd: int) -> None:
    """Tells the worker that the job begins."""
    os.write(events_fd, json.dumps({"event": READY}).encode() + b"\n")


def _load_core() -> None:
    """Imports the core: a broken installation shows here."""
    import torch  # noqa: F401

    import fdkd_core.run  # noqa: F401


def _touch(device: str) -> None:
    """Uses the GPU, whose driver may be broken. Not on standby: a context takes memory that others need."""
    import torch

    if device.startswith("cuda"):
        torch.zeros(1, device=device)


def _peek(core_arguments: list[str]) -> tuple[int, str]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--events-fd", type=int, required=True)
    parser.add_argument("--device", default="auto")
    known, _ = parser.parse_known_args(core_arguments)
    return known.events_fd, known.device


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.trainer", allow_abbrev=False)
    parser.add_argument("--worker-pid", type=int, required=True)
    parser.add_argument("--silence-s", type=float, required=True)
    parser.add_argument("--memory-bytes", type=int)
    parser.add_argument("--standby", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
