"""Kaldi's log-mel filter bank, as the feature extractor of AST computes it (recipe `kaldi-1`). numpy only.

    frame t      = samples[t * 160 : t * 160 + 400] minus its mean, then x[i] - 0.97 x[i - 1] (x[0] loses 0.97
                   of itself), times a symmetric Hann window
    power[t, f]  = |rfft(frame t, 512)|^2
    mel[m, t]    = sum over f of triangle[m, f] * power[t, f]
    output[m, t] = log(max(mel[m, t], 2^-23))

No dither, as the package sets none. Mel is 1127 ln(1 + Hz / 700), and the triangles rise and fall linearly in
mel, from 20 Hz to half the rate. Source: ASTFeatureExtractor of transformers 5.23, without torchaudio; with
it, the same numbers but for rounding. It is defined for one rate, 16 kHz, by which the window is 25 ms.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.modalities.log_mel import MelBands, collect_bands

RATE_HZ = 16_000
WINDOW, HOP, N_FFT = 400, 160, 512
"""Samples: 25 ms, 10 ms, and the power of two above the window."""
_PREEMPHASIS = 0.97
_FMIN_HZ = 20.0
_FLOOR = 2.0**-23
_PIECE_FRAMES = 512
"""Frames transformed at a time, which bounds memory."""


@lru_cache(maxsize=8)
def kaldi_bands(n_mels: int) -> MelBands:
    """The triangles, over the bins of the transform."""
    edges = np.linspace(_mel(_FMIN_HZ), _mel(RATE_HZ / 2), n_mels + 2)
    bins = _mel(np.arange(N_FFT // 2 + 1) * (RATE_HZ / N_FFT))
    return collect_bands(bins, edges)


def kaldi_log_mel(samples: NDArray[np.float32], n_mels: int, max_frames: int) -> NDArray[np.float32]:
    """Natural logarithm of mel band power, shape [n_mels, frames].

    Args:
        samples: Shape [n], full scale 1, at `RATE_HZ`.
        n_mels: Bands.
        max_frames: Frames after which to stop. Only whole frames are made; fewer than `WINDOW` samples make
            none.
    """
    if len(samples) < WINDOW:
        return np.empty((n_mels, 0), np.float32)
    frames_TW = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP][:max_frames]
    taper_W = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))
    bands = kaldi_bands(n_mels)
    output_MT = np.empty((n_mels, len(frames_TW)), np.float32)
    for start in range(0, len(frames_TW), _PIECE_FRAMES):
        piece_TW = frames_TW[start : start + _PIECE_FRAMES].astype(np.float64)
        piece_TW -= piece_TW.mean(axis=1, keepdims=True)
        emphasised_TW = piece_TW * (1 - _PREEMPHASIS)
        emphasised_TW[:, 1:] = piece_TW[:, 1:] - _PREEMPHASIS * piece_TW[:, :-1]
        spectrum_TF = np.fft.rfft(emphasised_TW * taper_W, n=N_FFT)
        power_FT = np.ascontiguousarray((spectrum_TF.real**2 + spectrum_TF.imag**2).T)
        # Each band sums its bins in a fixed order, as in `log_mel`: the same bits whatever the BLAS.
        weighted = power_FT[bands.bins] * bands.weights[:, None]
        mel_MT = np.add.reduceat(weighted, bands.starts, axis=0)
        output_MT[:, start : start + _PIECE_FRAMES] = np.log(np.maximum(mel_MT, _FLOOR))
    return output_MT


def _mel(frequency_hz: NDArray[Any] | float) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log(1.0 + np.asarray(frequency_hz) / 700.0))
