"""Writing to a database that may be away for a while."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_NEVER = threading.Event()

T = TypeVar("T")


def is_passing(error: Exception) -> bool:
    """Whether the database, or the way to it, is at fault, so that the same call may succeed later."""
    if isinstance(error, IntegrityError):
        return False
    return isinstance(error, OperationalError | PoolTimeoutError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def persist(
    write: Callable[[], T], *, until: Callable[[], float], stop: threading.Event = _NEVER, what: str = "write"
) -> T:
    """Calls `write` until it succeeds.

    Args:
        write: One transaction that may be repeated, even if it was committed and only its answer was lost.
        until: Moment, on the monotonic clock, after which a failure is final; asked after each failure.
        stop: Ends the waiting when set.
        what: For the log.

    Raises:
        DBAPIError: The last failure, when time is up; at once for one that would not pass.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return write()
        except (DBAPIError, PoolTimeoutError) as error:
            if not is_passing(error) or stop.is_set() or time.monotonic() >= until():
                raise
            # The statement may hold what a user wrote; the driver's own message says enough.
            reason = getattr(error, "orig", None) or error
            _log.warning("cannot %s, trying again: %s", what, str(reason).strip().splitlines()[0][:200])
        stop.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads tries, guards nothing
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
