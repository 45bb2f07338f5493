"""Timing several actions in turn, so that what disturbs the machine hits all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

Action = Callable[[], object]
Rounds = list[list[float]]
"""Milliseconds per call: one list per round."""


def wait_for(device: torch.device) -> None:
    """Waits until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleave(
    actions: Mapping[str, Action], *, rounds: int, repeats: int, warmup: int, device: torch.device
) -> dict[str, Rounds]:
    """Times A, A, .. B, B, .. C, C, .. A, A, ..: every action `repeats` times in each of `rounds` rounds."""
    for action in actions.values():
        for _ in range(warmup):
            action()
    taken: dict[str, Rounds] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            times = []
            for _ in range(repeats):
                wait_for(device)
                started = time.perf_counter()
                action()
                wait_for(device)
                times.append(1000 * (time.perf_counter() - started))
            taken[name].append(times)
    return taken
