"""Recordings as networks of the hub hear them: recipes that come with a model and are never fitted to data.

`kaldi-1` is AST's filter bank (`filter_bank`); `waveform-1` the samples themselves, for wav2vec 2.0. Both are
ways to prepare the kind `audio`; which one, the recipe's version says.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fdkd_core.modalities.audio import (
    AudioKind,
    Frames,
    Mels,
    RateHz,
    Seconds,
    mono_samples,
)
from fdkd_core.modalities.base import AugmentStrength, RawValue, Recipe, RecipeModel
from fdkd_core.modalities.filter_bank import RATE_HZ, kaldi_log_mel
from fdkd_core.modalities.options import refusal
from fdkd_core.modalities.spectrogram_augmentation import SHIFT_FRACTION, shifted_and_masked
from fdkd_core.spec.input_axes import MAX_STEPS

Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
_MIN_VARIANCE = 1e-7
"""The package's: silence stays silence."""


class FilterBankRecipe(RecipeModel):
    """`preprocess.json` of a recording for AST."""

    kind: Literal["audio"]
    version: Literal["kaldi-1"]
    input_shape: Annotated[list[Annotated[int, Field(ge=1, le=8192)]], Field(min_length=3, max_length=3)]
    input_dtype: Literal["float32"]
    rate_hz: Literal[16000]
    mels: Mels
    frames: Frames
    channels: Literal["mean"]
    resampler: Literal["soxr_hq"]
    max_seconds: Seconds
    mean: Annotated[list[Finite], Field(min_length=1, max_length=1)]
    """Of all bands together; in a list, as that of every kind."""
    std: Annotated[list[Annotated[float, Field(gt=0, le=1e6)]], Field(min_length=1, max_length=1)]
    """By whose double they are divided."""

    def check(self) -> None:
        """Shape, bands and frames agree."""
        if self.input_shape != [1, self.mels, self.frames]:
            raise refusal(
                "incompatible", f"found {self.mels} x {self.frames} in a shape of {self.input_shape}"
            )


class WaveformRecipe(RecipeModel):
    """`preprocess.json` of a recording for wav2vec 2.0."""

    kind: Literal["audio"]
    version: Literal["waveform-1"]
    input_shape: Annotated[list[Annotated[int, Field(ge=1, le=MAX_STEPS)]], Field(min_length=2, max_length=2)]
    input_dtype: Literal["float32"]
    rate_hz: RateHz
    normalise: bool
    """Bring each recording, as far as it is read, to mean 0 and variance 1."""
    channels: Literal["mean"]
    resampler: Literal["soxr_hq"]
    pad: Literal["end_with_zeros"]
    max_seconds: Seconds

    def check(self) -> None:
        """One channel."""
        if self.input_shape[0] != 1:
            raise refusal("incompatible", f"found a shape of {self.input_shape}; a waveform is one channel")


class FilterBankKind(AudioKind):
    """Recordings as AST hears them. `inspect` and `resolve` are those of all recordings."""

    version = "kaldi-1"
    recipe_model = FilterBankRecipe

    def decode(self, raw: RawValue, recipe: Recipe) -> NDArray[np.float32]:
        """The filter bank; cut at the end, or filled up with zeros."""
        _, mels, frames = recipe["input_shape"]
        found = kaldi_log_mel(mono_samples(raw, recipe), mels, frames)
        decoded = np.zeros((1, mels, frames), np.float32)
        decoded[0, :, : found.shape[1]] = found
        return decoded

    def fit(self, decoded: NDArray[Any], recipe: Recipe) -> Recipe:
        """The recipe as it came: its statistics are the model's."""
        return recipe

    def to_input(self, decoded: NDArray[Any], recipe: Recipe) -> NDArray[np.float32]:
        """Standardised by one mean and twice one deviation."""
        (mean,), (std,) = recipe["mean"], recipe["std"]
        found: NDArray[np.float32] = (decoded - np.float32(mean)) / np.float32(2 * std)
        return found

    def augment(
        self, inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength, recipe: Recipe
    ) -> NDArray[Any]:
        """As for our own spectrograms; padding moves in."""
        padding = self.to_input(np.zeros((1, 1, recipe["mels"], 1), np.float32), recipe)
        return shifted_and_masked(inputs, rng, strength, padding[0])


class WaveformKind(AudioKind):
    """Recordings as wav2vec 2.0 hears them. `inspect` and `resolve` are those of all recordings."""

    version = "waveform-1"
    recipe_model = WaveformRecipe

    def decode(self, raw: RawValue, recipe: Recipe) -> NDArray[np.float32]:
        """The first samples, normalised, and zeros after the end: what is said is what sets the scale."""
        _, length = recipe["input_shape"]
        samples = mono_samples(raw, recipe)[:length]
        if recipe["normalise"] and len(samples):
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + _MIN_VARIANCE)
        decoded = np.zeros((1, length), np.float32)
        decoded[0, : len(samples)] = samples
        return decoded

    def fit(self, decoded: NDArray[Any], recipe: Recipe) -> Recipe:
        """The recipe as it came: there is nothing to fit."""
        return recipe

    def to_input(self, decoded: NDArray[Any], recipe: Recipe) -> NDArray[np.float32]:
        """As decoded."""
        return np.asarray(decoded, np.float32)

    def augment(
        self, inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength, recipe: Recipe
    ) -> NDArray[Any]:
        """Shift in time with silence moving in."""
        if strength == "none":
            return inputs
        count, _, length = inputs.shape
        reach = max(1, round(length * SHIFT_FRACTION[strength]))
        changed = np.zeros_like(inputs)
        for index, offset in enumerate(rng.integers(-reach, reach + 1, count).tolist()):
            kept = length - abs(offset)
            target, source = max(offset, 0), max(-offset, 0)
            changed[index, :, target : target + kept] = inputs[index, :, source : source + kept]
        return changed


def filter_bank_recipe(mels: int, frames: int, mean: float, std: float, notes: list[str]) -> Recipe:
    """The recipe of AST's extractor.

    Args:
        mels: Bands.
        frames: Of 10 ms; what is longer is cut.
        mean: Taken off.
        std: By twice of which is divided.
        notes: For people.
    """
    return {
        **_shared("kaldi-1", [1, mels, frames], RATE_HZ, notes),
        "mels": mels,
        "frames": frames,
        "mean": [mean],
        "std": [std],
    }


def waveform_recipe(rate_hz: int, samples: int, *, normalise: bool, notes: list[str]) -> Recipe:
    """The recipe of wav2vec 2.0's extractor, for inputs of so many samples."""
    return {
        **_shared("waveform-1", [1, samples], rate_hz, notes),
        "normalise": normalise,
        "pad": "end_with_zeros",
    }


def _shared(version: str, input_shape: list[int], rate_hz: int, notes: list[str]) -> Recipe:
    return {
        "kind": "audio",
        "version": version,
        "input_shape": input_shape,
        "input_dtype": "float32",
        "rate_hz": rate_hz,
        "channels": "mean",
        "resampler": "soxr_hq",
        # The most that a column may state: a model that came from elsewhere refuses no row for its length.
        "max_seconds": 600.0,
        "notes": notes,
    }
