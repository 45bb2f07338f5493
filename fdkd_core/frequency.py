"""Splitting a feature vector into frequency bands along its channels.

Shape legend: B samples, D channels, K = D // 2 + 1 bins of the real FFT.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.precision import full_precision


def cutoff_bin(dim: int, cutoff: float) -> int:
    """Last bin of the low band: c = floor(cutoff * (K - 1)).

    Args:
        dim: D, at least 2; one channel has no bin but DC.
        cutoff: Share of the non-DC bins that is low, in the open interval (0, 1).

    Returns:
        c in 0..K-2. At 0, which happens for D < 2 / cutoff, the low band is empty; the high band never is.

    Raises:
        ValueError: `dim` or `cutoff` is out of range.
    """
    if dim < 2:
        raise ValueError(f"a band split needs at least 2 channels, found {dim}")
    if not 0.0 < cutoff < 1.0:
        raise ValueError(f"cutoff must lie between 0 and 1, found {cutoff}")
    # The small addition undoes roundings such as 0.29 * 100 = 28.999999999999996.
    return math.floor(cutoff * (dim // 2) + 1e-9)


@full_precision
def split_bands(
    features_BD: Float[Tensor, "b d"], *, cutoff: float
) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
    """Splits features into a low and a high band that add up to `X - mean(X)`.

    With F = rfft(X): low = irfft(F at bins 1..c), high = irfft(F at bins c+1..K-1). The DC bin is in
    neither band, which is the same as subtracting the mean over channels. Each band is a symmetric,
    idempotent projection of X, and the two are orthogonal.

    Args:
        features_BD: Features, any float type; computed in fp32 (float64 stays float64).
        cutoff: See `cutoff_bin`.

    Returns:
        low_BD and high_BD.

    Raises:
        ValueError: Not a matrix, fewer than 2 channels, or a cutoff outside (0, 1).

    References:
        Liu et al., "Distilling Cross-Modal Knowledge via Feature Disentanglement", AAAI 2026. The authors
        invert both halves; the high band here is the rest, X - mean(X) - low, which is the same signal for
        one inverse FFT less.
    """
    last_low = _checked_bin(features_BD, cutoff)
    return _split(features_BD, features_BD[:0], last_low)[:2]


@full_precision
def split_bands_of_both(
    student_BD: Float[Tensor, "b d"], teacher_BD: Float[Tensor, "b d"], *, cutoff: float
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """`split_bands` of two batches by one transform and its inverse, the rows of both stacked.

    Args:
        student_BD: Features that are learnt.
        teacher_BD: As wide, of as many rows; constants, to which no gradient goes.
        cutoff: See `cutoff_bin`.

    Returns:
        Low and high of the student, low and high of the teacher: the same numbers as apart.

    Raises:
        ValueError: As of `split_bands`.
    """
    last_low = _checked_bin(student_BD, cutoff)
    stacked_type = torch.promote_types(student_BD.dtype, teacher_BD.dtype)
    bands = _split(student_BD.to(stacked_type), teacher_BD.detach().to(stacked_type), last_low)
    return bands[:2], bands[2:]


def _checked_bin(features_BD: Tensor, cutoff: float) -> int:
    if features_BD.ndim != 2:
        raise ValueError(f"expected features of shape [B, D], found {list(features_BD.shape)}")
    return cutoff_bin(features_BD.shape[1], cutoff)


def _split(learnt_BD: Tensor, constant_BD: Tensor, last_low: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    bands: tuple[Tensor, Tensor, Tensor, Tensor] = _Split.apply(learnt_BD, constant_BD, last_low)  # type: ignore[no-untyped-call]
    return bands


class _Split(torch.autograd.Function):
    """Bands of rows that are learnt and of constant rows, transformed together.

    Both bands are symmetric projections, P_low and P_high = 1 - mean - P_low, so that the gradient is
    P_low(g_low) + P_high(g_high) = P_low(g_low - g_high) + g_high - mean(g_high): one transform of the learnt
    rows. Left to itself, autograd goes back through a complex FFT of all of them.
    """

    @staticmethod
    def forward(
        ctx: Any, learnt_BD: Tensor, constant_BD: Tensor, last_low: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.last_low = last_low
        rows_BD = torch.cat([learnt_BD, constant_BD])
        low_BD = _low_band(rows_BD, last_low)
        high_BD = rows_BD - rows_BD.mean(dim=1, keepdim=True) - low_BD
        count = len(learnt_BD)
        constants = low_BD[count:], high_BD[count:]
        ctx.mark_non_differentiable(*constants)
        return low_BD[:count], high_BD[:count], *constants

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        low_BD, high_BD = gradients[:2]
        found_BD = _low_band(low_BD - high_BD, ctx.last_low)
        return found_BD + high_BD - high_BD.mean(dim=1, keepdim=True), None, None


def _low_band(rows_BD: Tensor, last_low: int) -> Tensor:
    dim = rows_BD.shape[1]
    spectrum_BK = torch.fft.rfft(rows_BD, dim=1)
    # Multiplying by a mask, unlike assigning through one, stays a single graph under compilation.
    bins_K = torch.arange(dim // 2 + 1, device=rows_BD.device)
    low_BD: Tensor = torch.fft.irfft(spectrum_BK * ((bins_K >= 1) & (bins_K <= last_low)), n=dim, dim=1)
    return low_BD
