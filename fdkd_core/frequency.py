"""Splitting a feature vector into frequency bands along its channels.

Shape legend: B samples, D channels, K = D // 2 + 1 bins of the real FFT.
"""

from __future__ import annotations

import math

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
    if features_BD.ndim != 2:
        raise ValueError(f"expected features of shape [B, D], found {list(features_BD.shape)}")
    dim = features_BD.shape[1]
    last_low = cutoff_bin(dim, cutoff)
    spectrum_BK = torch.fft.rfft(features_BD, dim=1)
    # Multiplying by a mask, unlike assigning through one, stays a single graph under compilation.
    bins_K = torch.arange(dim // 2 + 1, device=features_BD.device)
    low_BD = torch.fft.irfft(spectrum_BK * ((bins_K >= 1) & (bins_K <= last_low)), n=dim, dim=1)
    high_BD = features_BD - features_BD.mean(dim=1, keepdim=True) - low_BD
    return low_BD, high_BD
