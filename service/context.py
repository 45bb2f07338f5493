"""What handlers work with, made once at start."""

from __future__ import annotations

from dataclasses import dataclass

from service.db import Database
from service.queue import WakeUp
from service.settings import Settings
from service.storage import LocalStorage


@dataclass(frozen=True)
class Context:
    """Settings and open resources of this process."""

    settings: Settings
    database: Database
    storage: LocalStorage
    wake_up: WakeUp


def open_context(settings: Settings) -> Context:
    """Opens database, storage and, where there is one, the broker."""
    settings.make_folders()
    return Context(
        settings,
        Database(settings.resolved_database_url),
        LocalStorage(settings.storage_dir),
        WakeUp(settings.broker_url),
    )
