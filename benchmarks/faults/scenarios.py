"""The faults, by their numbers: each is set up, happens at a random moment, and is checked for what must hold."""

from __future__ import annotations

from collections.abc import Callable

from bench import Bench
from server_faults import cut_connections, forgetful_broker, locked_database, repeated_wake_ups
from trainer_faults import (
    crashing_trainer,
    damaged_checkpoint,
    deaf_trainer,
    diverging_training,
    foreign_checkpoint,
    hanging_trainer,
    killed_real_trainer,
    killed_trainer,
)
from worker_faults import (
    cancelled,
    everything_killed,
    frozen_worker,
    killed_worker,
    stopped_worker,
    storm_of_kills,
)

SCENARIOS: dict[str, tuple[Callable[[Bench], None], ...]] = {
    "F1": (killed_trainer, killed_real_trainer),
    "F2": (storm_of_kills,),
    "F3": (killed_worker,),
    "F4": (frozen_worker,),
    "F5": (repeated_wake_ups,),
    "F9": (forgetful_broker,),
    "F13": (cut_connections, locked_database),
    "F20": (damaged_checkpoint,),
    "F21": (foreign_checkpoint,),
    "F27": (cancelled,),
    "F28": (deaf_trainer,),
    "F29": (crashing_trainer,),
    "F30": (hanging_trainer,),
    "F31": (diverging_training,),
    "F34": (stopped_worker,),
    "F40": (everything_killed,),
}
