"""Watching a trainer until it ends, and ending it when there is a reason to."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from service.settings import Settings
from worker.child_process import ChildProcess
from worker.lease import Lease
from worker.observation import Observation
from worker.stall import longest_pause_s, longest_silence_s

TICK_S = 0.1
"""How often the trainer is looked at."""
CHECKPOINT_FRAC = 0.7
"""Share of the worker's own time to shut down that a trainer has for its checkpoint."""


class StopReason(StrEnum):
    """Why a trainer was ended from outside."""

    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"
    STALLED = "stalled"
    LEASE_LOST = "lease_lost"
    """Another attempt has the job."""
    LEASE_RAN_OUT = "lease_ran_out"
    """It could not be renewed for so long that another attempt may have the job."""


@dataclass(frozen=True)
class Ended:
    """How a trainer ended."""

    status: int
    """Exit status, negative for a signal."""
    reason: StopReason | None
    """Why it was told to; None when it ended by itself."""


def supervise(
    child: ChildProcess,
    observation: Observation,
    lease: Lease,
    settings: Settings,
    shutdown: threading.Event,
    *,
    when_training: Callable[[], None] = lambda: None,
) -> Ended:
    """Waits for a trainer to end; asks it to stop, and then makes it, for any of `StopReason`.

    Args:
        child: The trainer.
        observation: What it says of itself.
        lease: On its job.
        settings: How patient to be.
        shutdown: Set when the worker is to end.
        when_training: Called once, when the first steps have been made.
    """
    reason: StopReason | None = None
    kill_at = math.inf
    was_training = False
    while (status := child.wait(TICK_S)) is None:
        if observation.has_steps and not was_training:
            was_training = True
            when_training()
        now = time.monotonic()
        new = _reason_to_stop(observation, lease, settings, shutdown, now)
        if new is not None and (reason is None or _grace_s(new, settings) < _grace_s(reason, settings)):
            if reason is None:
                reason = new
                child.ask_to_stop()
            elif new is StopReason.LEASE_LOST:
                reason = new
            # Before the first step there is nothing to save, and the trainer may be deep in loading data.
            grace_s = 0.0 if observation.phase == "preparing" else _grace_s(new, settings)
            kill_at = min(kill_at, now + grace_s)
        if now >= kill_at:
            child.kill()
    if reason is None and status == -signal.SIGKILL and child.longest_pause_s >= longest_pause_s(settings):
        reason = StopReason.LEASE_RAN_OUT  # this worker stood still for so long that the trainer ended itself
    return Ended(status, reason)


def _reason_to_stop(
    observation: Observation, lease: Lease, settings: Settings, shutdown: threading.Event, now: float
) -> StopReason | None:
    """The most pressing reason there is."""
    if lease.is_lost:
        return StopReason.LEASE_LOST
    if now - observation.last_heard > longest_silence_s(observation, settings):
        return StopReason.STALLED
    if shutdown.is_set():
        return StopReason.SHUTDOWN
    if now > lease.runs_out_at:
        return StopReason.LEASE_RAN_OUT
    if lease.is_cancelled:
        return StopReason.CANCELLED
    return None


def _grace_s(reason: StopReason, settings: Settings) -> float:
    """Seconds from SIGTERM to SIGKILL."""
    match reason:
        case StopReason.LEASE_LOST | StopReason.STALLED:
            return 0.0
        case StopReason.SHUTDOWN:
            return CHECKPOINT_FRAC * settings.shutdown_grace_s
        case StopReason.LEASE_RAN_OUT | StopReason.CANCELLED:
            return settings.stop_grace_s
