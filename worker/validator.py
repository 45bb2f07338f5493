"""`python -m worker.validator`: reads an upload for the first time, in a process that can do little harm.

    python -m worker.validator --worker-pid PID --silence-s S --memory-bytes N --cpu-s S -- dataset PATH

What follows `--` is for `fdkd_core.validate`, whose exit codes are passed on.
"""

from __future__ import annotations

import argparse
import os
import sys


def main(arguments: list[str] | None = None) -> int:
    """Confines the process and validates; returns the exit code."""
    from fdkd_core.parent_death import die_with_parent
    from worker.confinement import limit_cpu, limit_memory, watch_worker

    given = sys.argv[1:] if arguments is None else arguments
    split = given.index("--")
    options = _parser().parse_args(given[:split])
    os.umask(0o077)
    die_with_parent(options.worker_pid)
    watch_worker(options.silence_s)
    limit_memory(options.memory_bytes)
    limit_cpu(options.cpu_s)

    from fdkd_core.validate import main as validate

    return validate(given[split + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.validator", allow_abbrev=False)
    parser.add_argument("--worker-pid", type=int, required=True)
    parser.add_argument("--silence-s", type=float, required=True)
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--cpu-s", type=int, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
