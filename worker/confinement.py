"""What a child process does to itself before it works: it dies with its worker and stays within its memory.

None of it can be done from outside: a worker that was killed kills nothing any more. That it dies with its
worker is `fdkd_core.parent_death`.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import threading


def watch_worker(silence_s: float) -> None:
    """Takes standard input as the worker's pulse and, in a thread, ends this process group when it stops.

    The end of the input means that the worker is gone. Silence means that it is frozen, has lost its lease,
    and that another attempt may run by now.

    Args:
        silence_s: Longest time between two bytes, in seconds.
    """
    pulse = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # for whatever else reads standard input
    os.close(nothing)

    def watch() -> None:
        while True:
            heard = select.select([pulse], [], [], silence_s)[0]
            if not heard or not os.read(pulse, 64):
                os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="watch-worker", daemon=True).start()


def limit_memory(max_bytes: int) -> None:
    """Bounds the address space, so that a job that is too large fails alone and the machine does not swap."""
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))


def limit_cpu(max_s: int) -> None:
    """Bounds the CPU time, in seconds; the kernel ends the process after that."""
    resource.setrlimit(resource.RLIMIT_CPU, (max_s, max_s + 5))
