"""Looking at something again and again until it is done. The server may go away in between and come back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from fdkd_client.errors import APIError, FDKDClientError, ServerUnreachableError, WaitTimeoutError
from fdkd_client.transport import READ_TIMEOUT_S, TRIES, backoff_s

Seen = TypeVar("Seen")
PATIENCE_S = 120.0
"""How long a server may be away, a restart for instance, before the wait is given up."""
TOLD_AFTER_S = 5.0
"""Without an answer: less is a connection that broke, of which nobody needs to know."""
OnAway = Callable[[FDKDClientError | None], object]
"""Called with the reason once the server has been away for some seconds, and with None when it is back."""
_SHORTEST_INTERVAL_S = 0.2
_LONGEST_INTERVAL_S = 2.0
_SLOWER_EACH_TIME = 1.1


class Absence:
    """Since when the server has not answered, and who is told."""

    def __init__(self, on_away: OnAway | None) -> None:
        self._on_away = on_away
        self._since: float | None = None
        self._is_told = False

    def failed(self, error: FDKDClientError, asked_at: float) -> float:
        """Returns: Seconds since the first of the requests in a row that failed, by the monotonic clock."""
        self._since = asked_at if self._since is None else self._since
        away_s = time.monotonic() - self._since
        if self._on_away is not None and not self._is_told and away_s >= TOLD_AFTER_S:
            self._is_told = True
            self._on_away(error)
        return away_s

    def answered(self) -> None:
        """It is there."""
        if self._on_away is not None and self._is_told:
            self._on_away(None)
        self._since, self._is_told = None, False


def wait(
    look: Callable[[float], Seen],
    is_done: Callable[[Seen], bool],
    describe: Callable[[Seen], str],
    *,
    timeout_s: float | None,
    on_update: Callable[[Seen], object] | None = None,
    on_away: OnAway | None = None,
    patience_s: float = PATIENCE_S,
) -> Seen:
    """Looks until it is done; often at first, then every two seconds.

    Args:
        look: Fetches the present state, in one try of at most the seconds given.
        is_done: Whether to stop.
        describe: Says in which state it still is, for the message.
        timeout_s: Longest wait; None waits for ever.
        on_update: Called with the first state, and with each one that differs from the last.
        on_away: Told when the server goes for longer than a moment, and when it is back.
        patience_s: Longest time without any answer.

    Returns:
        The final state, as the server told it.

    Raises:
        WaitTimeoutError: It took longer.
        ServerUnreachableError: The server was away for too long, or from the beginning to the end.
    """
    started = time.monotonic()
    absence = Absence(on_away)
    interval_s, failures = _SHORTEST_INTERVAL_S, 0
    seen: Seen | None = None
    while True:
        asked_at = time.monotonic()
        left_s = None if timeout_s is None else started + timeout_s - asked_at
        try:
            present = look(READ_TIMEOUT_S if left_s is None else min(max(left_s, 1.0), READ_TIMEOUT_S))
        except (ServerUnreachableError, APIError) as error:
            if isinstance(error, APIError) and error.status not in (429, 502, 503, 504):
                raise
            failures += 1
            silent_s = absence.failed(error, asked_at)
            is_over = left_s is not None and left_s <= 0
            # Never seen: it may not even exist, so that there is nothing to be patient for.
            if silent_s > patience_s or (seen is None and (is_over or failures == TRIES)):
                raise
            pause_s = backoff_s(failures)
        else:
            absence.answered()
            failures = 0
            if on_update is not None and present != seen:
                on_update(present)
            seen = present
            if is_done(present):
                return present
            pause_s = interval_s
            interval_s = min(interval_s * _SLOWER_EACH_TIME, _LONGEST_INTERVAL_S)
        if timeout_s is not None:
            left_s = started + timeout_s - time.monotonic()
            if left_s <= 0 and seen is not None:
                raise WaitTimeoutError(
                    f"{describe(seen)} after {timeout_s:g} s; it goes on.", getattr(seen, "state", None)
                )
            pause_s = min(pause_s, max(left_s, 0.0))
        time.sleep(pause_s)
