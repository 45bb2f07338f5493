"""Timing several actions in turn, so that what disturbs the machine hits all of them alike."""

from __future__ import annotations

import random
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
    """Times every action `repeats` times in each of `rounds` rounds, each round in another order.

    What an action finds in caches and allocators depends on the one before it, so none may always follow the
    same one.
    """
    for action in actions.values():
        for _ in range(warmup):
            action()
    taken: dict[str, Rounds] = {name: [] for name in actions}
    order = list(actions.items())
    rng = random.Random(0)
    for _ in range(rounds):
        rng.shuffle(order)
        for name, action in order:
            times = []
            for _ in range(repeats):
                wait_for(device)
                started = time.perf_counter()
                action()
                wait_for(device)
                times.append(1000 * (time.perf_counter() - started))
            taken[name].append(times)
    return taken
