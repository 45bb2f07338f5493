"""Mean and standard deviation of training values, in float64, by pieces that fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PIECE_VALUES = 1 << 22
"""Numbers converted to float64 at a time: 32 MiB."""

CONSTANT_FRACTION = 1e-6
"""A standard deviation below this fraction of the mean is float32 rounding noise, not signal."""


def mean_and_std(
    values: NDArray[Any],
    keep_axis: int,
    is_counted: Callable[[NDArray[Any]], NDArray[np.bool_]] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two-pass statistics per index of one axis, over all others.

    Args:
        values: Shape [N, ...], in memory or memory-mapped; read in pieces of whole rows.
        keep_axis: The axis that keeps one statistic per index: 1 for channels, mel bands, features.
        is_counted: Mask of the numbers of a piece that count; None for all of them.

    Returns:
        Mean and population standard deviation, each of shape [values.shape[keep_axis]]. Where nothing
        is counted both are 0; a standard deviation that is only rounding noise is exactly 0.
    """
    axes = tuple(axis for axis in range(values.ndim) if axis != keep_axis)
    shape = [1] * values.ndim
    shape[keep_axis] = values.shape[keep_axis]
    count = np.zeros(values.shape[keep_axis])
    total = np.zeros(values.shape[keep_axis])
    for piece, mask in _pieces(values, is_counted):
        count += mask.sum(axis=axes)
        total += np.where(mask, piece, 0.0).sum(axis=axes)
    mean = total / np.maximum(count, 1)
    squares = np.zeros(values.shape[keep_axis])
    for piece, mask in _pieces(values, is_counted):
        squares += np.where(mask, (piece - mean.reshape(shape)) ** 2, 0.0).sum(axis=axes)
    std = np.sqrt(squares / np.maximum(count, 1))
    return mean, np.where(std <= CONSTANT_FRACTION * np.abs(mean), 0.0, std)


def _pieces(
    values: NDArray[Any], is_counted: Callable[[NDArray[Any]], NDArray[np.bool_]] | None
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    rows = max(1, _PIECE_VALUES // max(1, values[0].size)) if len(values) else 1
    for start in range(0, len(values), rows):
        piece = values[start : start + rows]
        mask = np.ones(piece.shape, bool) if is_counted is None else is_counted(piece)
        yield piece.astype(np.float64), mask


def affine(
    values: NDArray[Any], mean: list[float], std: list[float], shape: tuple[int, ...], scale: float = 1.0
) -> NDArray[np.float32]:
    """`(values / scale - mean) / std` in float32, element by element; 0 where `std` is 0 (constant).

    Each output depends on its own input alone, so a batch and a single value give the same bits.

    Args:
        values: Shape [B, ...].
        mean: One number per channel, in units of `values / scale`.
        std: As `mean`; 0 means that training saw a constant.
        shape: How `mean` and `std` broadcast against `values`, such as (1, C, 1, 1).
        scale: Divisor that brings the stored numbers to the unit of `mean`, such as 255.
    """
    spread = np.asarray(std, dtype=np.float64)
    is_constant = spread == 0
    gain = np.where(is_constant, 0.0, 1.0 / np.where(is_constant, 1.0, spread)) / scale
    center = np.asarray(mean, dtype=np.float64) * scale
    # Subtracting first keeps the digits of features whose mean is large against their spread.
    output: NDArray[np.float32] = np.subtract(
        values, center.astype(np.float32).reshape(shape), dtype=np.float32
    )
    output *= gain.astype(np.float32).reshape(shape)
    return output
