"""What a network has to fit."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """What a network has to fit, and does: the checks come first."""

    input_shape: tuple[int, ...]
    """Shape of one sample, without the batch."""
    num_classes: int
    vocab_size: int | None
    """Number of token ids; None for float inputs."""
