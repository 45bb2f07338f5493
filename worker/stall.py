"""Telling a slow trainer from one that hangs: a lease says that the worker lives, not that the job moves."""

from __future__ import annotations

from service.settings import Settings
from worker.observation import Observation

TIMES_MEDIAN = 20


def longest_pause_s(settings: Settings) -> float:
    """How long a trainer that hears nothing of its worker goes on, in seconds.

    A worker that lost touch with the database has its lease, and the grace for a last checkpoint.
    """
    return settings.lease_s + settings.stop_grace_s


def longest_silence_s(observation: Observation, settings: Settings) -> float:
    """How long the trainer may say nothing before it counts as hung, in seconds.

    Between steps the measured speed is the yardstick. What takes no steps (loading data, the first batch, the
    teacher's view of all rows, tests and export) has no yardstick but the general limit.
    """
    if not observation.has_steps:
        return settings.prepare_timeout_s
    return max(settings.stall_min_s, TIMES_MEDIAN * observation.median_interval_s)
