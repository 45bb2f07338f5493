"""Teachers that look like one and know less: what still helps with them is not knowledge."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fdkd_core.models.base import ModelOutput


def shuffled(outputs: ModelOutput, seed: int) -> ModelOutput:
    """Every row gets the outputs of another row's sample: nothing of the pairing is left.

    Args:
        outputs: Features [N, D] and logits [N, C] of all rows.
        seed: Decides who gets whose.
    """
    other = another_row(len(outputs.features), seed)
    return ModelOutput(outputs.features[other], outputs.logits[other])


def permuted(outputs: ModelOutput, seed: int) -> ModelOutput:
    """The feature's channels in another order, the same for all rows; logits stay.

    All that a feature says is still there, but its frequencies along the channels are another signal's.
    """
    order = torch.from_numpy(_generator(seed, "channels").permutation(outputs.features.shape[1]))
    return ModelOutput(outputs.features[:, order], outputs.logits)


def another_row(num_rows: int, seed: int) -> Tensor:
    """For each row another one, each once: a random cycle through all of them."""
    cycle = _generator(seed, "rows").permutation(num_rows)
    other = np.empty_like(cycle)
    other[cycle] = np.roll(cycle, 1)
    return torch.from_numpy(other)


def _generator(seed: int, stream: str) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, *stream.encode())))
