"""Becomes another module's process, tied to the one that started it.

    python -m fdkd_client.serve.tethered PARENT_PID MODULE [ARGUMENT ...]

When the parent ends, however it ends, the kernel sends SIGTERM here: nothing is left that nobody watches.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Ties the process and replaces its program; returns only where the parent is gone already."""
    parent, module, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        return 1
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - our own modules


if __name__ == "__main__":
    sys.exit(main())
