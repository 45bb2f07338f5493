"""How long forward passes take: medians of many, taken in turns. No torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.long_inputs import rows_at_a_time
from fdkd_core.spec.export_result import BatchLatency

BATCH_SIZES = (1, 32)
"""A single sample, as a device asks, and a batch, as a server does."""
MIN_REPEATS = 5
"""Fewer passes make no median worth the name."""
MAX_REPEATS = 200
"""More would move a median less than the machine's own moods do."""
_WARM_UP = 3
"""The first passes allocate and choose kernels; the fastest of these says how many more the time allows."""


@dataclass(frozen=True)
class Timed:
    """Something to be timed."""

    run: Callable[[NDArray[Any]], object]
    """A forward pass of a batch."""
    samples: NDArray[Any]
    """[N, ...], N at least 1; repeated where a batch is larger."""


def measure(
    candidates: Mapping[str, Timed],
    *,
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[BatchLatency]]:
    """Times candidates against each other, batch size by batch size.

    In each round all of them run once, every other round in reverse, so that what else the machine does hits
    them alike.

    Args:
        candidates: By name.
        budget_s: For each candidate, over all batch sizes. It is overrun by no more than one warm-up.
        clock: Seconds, monotonic.

    Returns:
        Of each candidate its batch sizes in order, without those that do not fit the budget `MIN_REPEATS`
        times, and without batches larger than what long inputs are taken in.
    """
    share_s = budget_s * len(candidates) / len(BATCH_SIZES)
    found: dict[str, list[BatchLatency]] = {name: [] for name in candidates}
    for size in BATCH_SIZES:
        if any(rows_at_a_time(size, timed.samples.shape[1:]) < size for timed in candidates.values()):
            continue
        calls = {name: _call(timed, size) for name, timed in candidates.items()}
        for name, seconds in _rounds(calls, share_s, clock).items():
            found[name].append(
                BatchLatency(
                    batch_size=size,
                    median_ms=round(1e3 * float(np.median(seconds)), 4),
                    p95_ms=round(1e3 * float(np.quantile(seconds, 0.95)), 4),
                    repeats=len(seconds),
                )
            )
    return found


def _call(timed: Timed, size: int) -> Callable[[], object]:
    batch = np.ascontiguousarray(timed.samples[np.arange(size) % len(timed.samples)])
    return lambda: timed.run(batch)


def _rounds(
    calls: Mapping[str, Callable[[], object]], share_s: float, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each pass by name; empty when there is no time for `MIN_REPEATS` rounds."""
    if not calls or share_s <= 0:
        return {}
    deadline = clock() + share_s
    round_s = 0.0
    for call in calls.values():
        tries = []
        for _ in range(_WARM_UP):
            tries.append(_time(call, clock))
            if clock() > deadline:
                return {}
        round_s += min(tries)
    if clock() + MIN_REPEATS * round_s > deadline:
        return {}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for number in range(MAX_REPEATS):
        if number >= MIN_REPEATS and clock() > deadline:
            break
        for name in names if number % 2 == 0 else reversed(names):
            seconds[name].append(_time(calls[name], clock))
    return seconds


def _time(call: Callable[[], object], clock: Callable[[], float]) -> float:
    begin = clock()
    call()
    return clock() - begin
