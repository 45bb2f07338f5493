"""How many event streams are open in this process, of each owner and in all."""

from __future__ import annotations

import threading
from collections import Counter

from service.errors import TooManyStreamsError

MAX_STREAMS = 64
"""Event streams at once in one process; each looks at its job twice a second."""
MAX_OWNER_STREAMS = 16
"""Of one owner: nobody can take the places of all others."""
RETRY_AFTER_S = 5


class StreamSlots:
    """Places for event streams. Whoever takes one gives it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, owner_id: str) -> None:
        """Takes a place for a stream of this owner.

        Raises:
            TooManyStreamsError: The owner has as many as one may have, or the process as many as it keeps.
        """
        with self._lock:
            if self._taken[owner_id] >= MAX_OWNER_STREAMS:
                raise _too_many(MAX_OWNER_STREAMS, "of yours", "one owner may have")
            if self._taken.total() >= MAX_STREAMS:
                raise _too_many(MAX_STREAMS, "of all owners", "this server keeps")
            self._taken[owner_id] += 1

    def give_back(self, owner_id: str) -> None:
        """Frees a place that `take` gave to this owner."""
        with self._lock:
            self._taken[owner_id] -= 1
            if self._taken[owner_id] <= 0:  # owners who have left are not remembered
                del self._taken[owner_id]


def _too_many(number: int, whose: str, limit: str) -> TooManyStreamsError:
    open_ones = f"{number} event streams {whose} are open, all that {limit}"
    detail = f"{open_ones}; read the events page by page, or come back."
    return TooManyStreamsError(detail, headers={"Retry-After": str(RETRY_AFTER_S)})
