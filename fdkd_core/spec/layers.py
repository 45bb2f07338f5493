"""What layers cost: learnt numbers, and what one sample leaves behind for the backward pass."""

from __future__ import annotations

from typing import NamedTuple


class Layer(NamedTuple):
    """A layer, or several that follow each other."""

    parameters: int
    outputs: int = 0
    """Numbers that one sample leaves behind for the backward pass."""
    statistics: int = 0
    """Numbers that are kept but not learnt: the running mean and variance of batch norm."""


def linear(inputs: int, outputs: int, tokens: int = 1, *, bias: bool = True) -> Layer:
    """A linear layer, at each of `tokens` places."""
    return Layer(inputs * outputs + (outputs if bias else 0), tokens * outputs)


def conv_and_norm(inputs: int, outputs: int, taps: int, positions: int) -> Layer:
    """A convolution without bias, and batch norm.

    Args:
        inputs: Channels that each filter reads.
        outputs: Channels that come out.
        taps: Numbers of a filter per channel.
        positions: Places of the map that comes out.
    """
    return Layer(inputs * outputs * taps + 2 * outputs, 2 * outputs * positions, 2 * outputs)


def halved(sides: list[int]) -> list[int]:
    """Sides of a map behind a stride of 2, rounded up."""
    return [(side + 1) // 2 for side in sides]
