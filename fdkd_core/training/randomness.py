"""Every random generator a run depends on: seeding them, and carrying them through a checkpoint.

Batch order and augmentation draw from counters (`fdkd_core.data.batches`) and need no state. What is left is
torch's own generator, for initial weights and dropout.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def seed_torch(seed: int, stream: str) -> None:
    """Seeds torch on every device for one purpose, such as `weights` or `dropout`.

    Streams of one seed are independent, so that a method with parameters of its own leaves the student's
    initial weights and dropout as they are in the control.
    """
    entropy = np.random.SeedSequence((seed, *stream.encode()))
    torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def random_state() -> dict[str, Tensor]:
    """State of torch's generators, as byte tensors on the CPU."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random_state(states: dict[str, Tensor]) -> None:
    """Puts back what `random_state` took; a GPU that was not there is left as it is."""
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if (state := states.get(f"cuda{index}")) is not None:
                torch.cuda.set_rng_state(state, index)
