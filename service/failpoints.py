"""Places where tests make a process die, to show that nothing is lost; off without FDKD_FAILPOINT."""

from __future__ import annotations

import os


def reach(name: str) -> None:
    """Ends the process here, as a power cut would, when this failpoint is armed."""
    if name == os.environ.get("FDKD_FAILPOINT"):
        os._exit(137)
