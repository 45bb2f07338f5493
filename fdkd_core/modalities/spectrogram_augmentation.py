"""Changes to spectrograms in training: shifts in time, masks over bands and over frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.modalities.base import AugmentStrength

MASKS = {"light": (1, 0.1, 0.1), "strong": (2, 0.15, 0.15)}
"""Masks per axis, largest width as a fraction of the bands, and of the frames (SpecAugment, Park et al.
2019, with masks that shrink with the picture: theirs are fixed at 27 of 80 bands)."""
SHIFT_FRACTION = {"light": 0.05, "strong": 0.1}
"""Largest shift in time as a fraction of the frames."""


def shifted_and_masked(
    inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength, silence: NDArray[Any]
) -> NDArray[Any]:
    """Spectrograms [B, 1, bands, frames] shifted in time, then with masks of 0 over bands and over frames.

    Args:
        inputs: Not changed.
        rng: Says how.
        strength: How much.
        silence: A frame of it, [1, bands, 1], which moves in.
    """
    if strength == "none":
        return inputs
    count, _, mels, frames = inputs.shape
    reach = max(1, round(frames * SHIFT_FRACTION[strength]))
    changed = np.empty_like(inputs)
    for index, offset in enumerate(rng.integers(-reach, reach + 1, count).tolist()):
        kept = frames - abs(offset)
        target, source = max(offset, 0), max(-offset, 0)
        changed[index, :, :, target : target + kept] = inputs[index, :, :, source : source + kept]
        changed[index, :, :, :target] = silence
        changed[index, :, :, target + kept :] = silence
    num_masks, band_fraction, frame_fraction = MASKS[strength]
    for _ in range(num_masks):
        changed *= ~_random_spans(rng, count, mels, band_fraction)[:, None, :, None]
        changed *= ~_random_spans(rng, count, frames, frame_fraction)[:, None, None, :]
    return changed


def _random_spans(
    rng: np.random.Generator, count: int, length: int, largest_fraction: float
) -> NDArray[np.bool_]:
    """Per row of [count, length], one span of random place and width (0 to the largest) marked True."""
    width = rng.integers(0, max(1, round(length * largest_fraction)) + 1, (count, 1))
    start = rng.integers(0, length - width + 1)
    position = np.arange(length)
    return (position >= start) & (position < start + width)
