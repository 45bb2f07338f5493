"""Log-mel spectrogram, recipe `logmel-1`: written down here in full, numpy only, the same bits every time.

    frame t      = samples[t * hop : t * hop + window], times a periodic Hann window
    power[t, f]  = |rfft(frame t, n_fft)|^2                           zero-padded to n_fft
    mel[m, t]    = sum over f of triangle[m, f] * power[t, f]
    output[m, t] = log(max(mel[m, t], log_floor))

Only frames that lie wholly inside the recording are made (no reflection at the ends); one shorter than a
window is zero-padded to one frame. Mel is the HTK scale, 2595 log10(1 + Hz / 700). Triangles have peak 1:
an area normalisation (Slaney) would only add a constant to each band, which normalisation removes again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_PIECE_FRAMES = 512
"""Frames transformed at a time; bounds memory at n_fft x 512 floats."""


def hz_to_mel(frequency_hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """HTK mel of a frequency in Hz."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(frequency_hz) / 700.0))


def mel_to_hz(mel: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Frequency in Hz of an HTK mel."""
    return np.asarray(700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0))


class MelBands(NamedTuple):
    """A filter bank without its zeros: the weights of all bands, one band after the other."""

    bins: NDArray[np.int64]
    """FFT bin of each weight."""
    weights: NDArray[np.floating[Any]]
    starts: NDArray[np.int64]
    """Position of each band's first weight; every band has one at least."""
    num_empty: int
    """Bands too narrow to cover any bin, whose single weight is 0."""


@lru_cache(maxsize=16)
def mel_bands(rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float) -> MelBands:
    """The filter bank: triangles that overlap their neighbours by half and are equally wide in mel."""
    edges_hz = mel_to_hz(np.linspace(hz_to_mel(fmin_hz), hz_to_mel(fmax_hz), n_mels + 2))
    return collect_bands(np.arange(n_fft // 2 + 1) * (rate_hz / n_fft), edges_hz, np.float32)


def collect_bands(
    bin_places: NDArray[Any], edges: NDArray[Any], dtype: type[np.floating[Any]] = np.float64
) -> MelBands:
    """Triangles between every three neighbouring edges, where they cover bins.

    Args:
        bin_places: Of the transform's bins, in Hz or in mel.
        edges: Rising, in the same unit.
        dtype: Of the weights.
    """
    bins: list[NDArray[np.int64]] = []
    weights: list[NDArray[np.float64]] = []
    num_empty = 0
    for left, center, right in zip(edges, edges[1:], edges[2:], strict=False):
        rising = (bin_places - left) / (center - left)
        falling = (right - bin_places) / (right - center)
        triangle = np.clip(np.minimum(rising, falling), 0.0, None)
        covered = np.flatnonzero(triangle)
        if len(covered) == 0:
            num_empty += 1
            covered = np.zeros(1, np.int64)
        bins.append(covered)
        weights.append(triangle[covered])
    starts = np.cumsum([0, *map(len, bins[:-1])])
    return MelBands(np.concatenate(bins), np.concatenate(weights).astype(dtype), starts, num_empty)


def count_frames(num_samples: int, window: int, hop: int) -> int:
    """Frames of a recording: at least one."""
    return 1 + max(0, num_samples - window) // hop


def log_mel(
    samples: NDArray[np.float32],
    *,
    rate_hz: int,
    window: int,
    hop: int,
    n_fft: int,
    n_mels: int,
    fmin_hz: float,
    fmax_hz: float,
    log_floor: float,
    max_frames: int | None = None,
) -> NDArray[np.float32]:
    """Natural logarithm of mel band power, shape [n_mels, frames].

    Args:
        samples: Shape [n], full scale 1.
        rate_hz: Samples per second.
        window: Samples per frame, at most `n_fft`.
        hop: Samples between frames.
        n_fft: FFT length.
        n_mels: Bands.
        fmin_hz: Lower edge of the first band.
        fmax_hz: Upper edge of the last band, at most `rate_hz / 2`.
        log_floor: Smallest power; its logarithm stands for silence.
        max_frames: Frames after which to stop; None for all.
    """
    if len(samples) < window:
        samples = np.concatenate([samples, np.zeros(window - len(samples), np.float32)])
    frames_TW = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop][:max_frames]
    taper_W = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
    bands = mel_bands(rate_hz, n_fft, n_mels, fmin_hz, fmax_hz)
    output_MT = np.empty((n_mels, len(frames_TW)), np.float32)
    for start in range(0, len(frames_TW), _PIECE_FRAMES):
        spectrum_TF = np.fft.rfft(frames_TW[start : start + _PIECE_FRAMES] * taper_W, n=n_fft)
        power_FT = np.ascontiguousarray((spectrum_TF.real**2 + spectrum_TF.imag**2).T)
        # Each band sums its few bins in a fixed order. A matrix product would be no faster for filters
        # this sparse, and its rounding depends on the BLAS at hand.
        weighted = power_FT[bands.bins] * bands.weights[:, None]
        output_MT[:, start : start + _PIECE_FRAMES] = np.add.reduceat(weighted, bands.starts, axis=0)
    return np.log(np.maximum(output_MT, np.float32(log_floor)))
