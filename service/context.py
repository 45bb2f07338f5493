"""What handlers work with, made once at start."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from service.db import Database
from service.queue import WakeUp
from service.server_secret import load_secret
from service.settings import Settings
from service.storage import LocalStorage
from service.stream_slots import StreamSlots


@dataclass(frozen=True)
class Context:
    """Settings and open resources of this process."""

    settings: Settings
    database: Database
    storage: LocalStorage
    wake_up: WakeUp
    secret: bytes = field(repr=False)
    """Of this installation; see `service.server_secret`."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set as soon as the server is told to stop: streams end, so that it need not wait for them."""

    stream_slots: StreamSlots = field(default_factory=StreamSlots, repr=False)

    def close(self) -> None:
        """Sends the last wake-ups and closes the database; safe to call twice."""
        self.stopping.set()
        self.wake_up.close()
        self.database.close()


def open_context(settings: Settings) -> Context:
    """Opens database, storage and, where there is one, the broker."""
    settings.make_folders()
    return Context(
        settings,
        Database(settings.resolved_database_url),
        LocalStorage(settings.storage_dir),
        WakeUp(settings.broker_url),
        load_secret(settings.data_dir),
    )
