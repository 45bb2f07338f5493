"""`python -m worker`: takes jobs and uploads until SIGTERM or SIGINT.

Settings come from `FDKD_*` variables; see docs/settings.md. Exit codes: 0 ended as asked; 1 cannot start;
2 wrong usage; 3 trainers cannot start on this machine, so it took no more jobs.
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import signal
import sys

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from service import schema
from service.context import open_context
from service.logs import configure_logging
from service.settings import Settings
from worker.process import WorkerProcess

EXIT_CANNOT_START, EXIT_BROKEN = 1, 3
LOOK_S = 0.5
"""How often the main thread sees whether the worker is still of use."""

_log = logging.getLogger("worker")


class Signals:
    """SIGTERM and SIGINT as something to wait for: nothing is raised, nothing locked in a handler."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._writing)

    def wait(self, timeout_s: float) -> bool:
        """Waits for one, at most `timeout_s` seconds; returns whether it came."""
        if not select.select([self._reading], [], [], timeout_s)[0]:
            return False
        os.read(self._reading, 64)
        return True


def main() -> int:
    """Runs a worker; returns the exit code."""
    configure_logging()
    os.umask(0o077)
    signals = Signals()
    try:
        context = open_context(Settings())
        schema.require_current(context.database)
        worker = WorkerProcess(context)
        worker.start()
    except (schema.SchemaError, ValidationError, SQLAlchemyError, OSError) as error:
        reason = getattr(error, "orig", None) or error
        _log.critical("cannot start: %s", reason)
        return EXIT_CANNOT_START
    while not signals.wait(LOOK_S) and not worker.is_broken:
        pass
    if worker.is_broken:
        _log.critical("trainers cannot start here; see the history of the jobs that were sent back")
    else:
        _log.info("stopping: trainers save a checkpoint, their jobs go back to the queue")
    if not worker.stop():
        _log.error("not everything ended in time; the sweep will find what is left")
    context.wake_up.close(0.5)
    return EXIT_BROKEN if worker.is_broken else 0


def parse_arguments() -> None:
    """Takes no arguments: who asks for help, or mistypes an option, does not get a worker."""
    argparse.ArgumentParser(
        prog="python -m worker",
        description="Takes jobs and uploads until SIGTERM or SIGINT. Settings come from FDKD_* variables.",
        epilog="Exit codes: 0 ended as asked, 1 cannot start, 3 trainers cannot start on this machine.",
    ).parse_args()


if __name__ == "__main__":
    parse_arguments()
    status = main()
    sys.stdout.flush()
    # Not sys.exit: a thread that still waits for the database or the broker would keep the process.
    os._exit(status)
