"""Time series: arrays of time x channels or channels x time, as float32 channels x time.

Where a series is shorter than the input, the rest of the stored array is NaN (which no user's value can be)
and becomes 0 in the input: the mean of the channel, whatever its offset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fdkd_core.errors import Problem
from fdkd_core.modalities.arrays import read_array, to_float32
from fdkd_core.modalities.base import (
    AugmentStrength,
    Facts,
    RawValue,
    Recipe,
    RowError,
    StandardisedRecipe,
)
from fdkd_core.modalities.options import OptionError, parse, refusal
from fdkd_core.modalities.statistics import affine, mean_and_std
from fdkd_core.spec.catalogue import KindName
from fdkd_core.spec.input_axes import MAX_STEPS
from fdkd_core.spec.strict import StrictModel

MAX_CHANNELS = 1024
"""High-density EEG has 256."""
DEFAULT_MAX_STEPS = 4096
"""Time steps of an input when none are stated; longer ones are a choice to make, for they cost every step."""
CLIP = 10.0
"""Standard deviations beyond which inputs are cut: a sensor's single glitch must not set the gradient."""

Layout = Literal["time_channels", "channels_time"]
Steps = Annotated[int, Field(ge=4, le=MAX_STEPS)]
ChannelIndex = Annotated[int, Field(ge=0, lt=MAX_CHANNELS)]

SCALING = {"light": 0.1, "strong": 0.2}
"""Standard deviation of each channel's random gain (Um et al. 2017 use 0.1 for wearable sensors)."""
NOISE = {"light": 0.05, "strong": 0.1}
"""In standard deviations of the channel."""
SHIFT_FRACTION = {"light": 0.05, "strong": 0.1}
"""Largest shift in time as a fraction of the steps."""


class SeriesOptions(StrictModel):
    """Options of a series column."""

    layout: Layout | None = None
    """Order of the axes; inferred when absent: the axis that varies between series, or the longer one."""
    length: Steps | None = None
    """Time steps of an input; all of them when all are equal, else 95 % of the training series fit."""
    channels: Annotated[list[ChannelIndex], Field(min_length=1, max_length=MAX_CHANNELS)] | None = None
    """Channels to keep, counted from 0, in this order; all when absent."""


class SeriesRecipe(StandardisedRecipe):
    """`preprocess.json` of a series."""

    kind: Literal["series"]
    version: Literal["series-1"]
    input_shape: Annotated[list[Annotated[int, Field(ge=1, le=MAX_STEPS)]], Field(min_length=2, max_length=2)]
    layout: Layout
    source_channels: Annotated[int, Field(ge=1, le=MAX_CHANNELS)]
    """Channels of the user's arrays."""
    channels: Annotated[list[ChannelIndex], Field(min_length=1, max_length=MAX_CHANNELS)]
    crop: Literal["start"]
    pad: Literal["end_with_mean"]
    clip: Annotated[float, Field(gt=0, le=1e6)]

    def check(self) -> None:
        """Statistics, shape and channels agree."""
        super().check()
        if self.input_shape[0] != len(self.channels) or max(self.channels) >= self.source_channels:
            raise refusal("incompatible", f"the channels do not fit a shape of {self.input_shape}")


class SeriesKind:
    """Time series."""

    name: KindName = "series"
    version = "series-1"
    is_native = False
    stored_dtype = np.dtype(np.float32)
    options_model = SeriesOptions
    recipe_model = SeriesRecipe

    def inspect(self, raw: RawValue) -> Facts:
        """The shape, from the header or the array."""
        shape = read_array(raw).shape  # of a file by its header: nothing is copied
        _check_two_axes(shape)
        return {"shape": shape}

    def resolve(self, options: dict[str, Any], facts: Sequence[Facts]) -> Recipe:
        """Fixes layout, channels and length."""
        stated = parse(SeriesOptions, options)
        if not facts:
            raise OptionError(Problem("missing_field", "no training series to infer a shape from"))
        shapes = np.array([fact["shape"] for fact in facts], dtype=np.int64)
        layout, why_layout = _choose_layout(stated.layout, shapes)
        time_axis = 0 if layout == "time_channels" else 1
        # The usual number of channels; a series with another one is refused when it is decoded.
        source_channels = Counter(shapes[:, 1 - time_axis].tolist()).most_common(1)[0][0]
        if source_channels > MAX_CHANNELS:
            detail = (
                f"found {source_channels} channels in layout {layout}; at most {MAX_CHANNELS} are allowed"
            )
            raise OptionError(Problem("exceeds_limit", detail, "/layout"))
        channels = stated.channels or list(range(source_channels))
        if max(channels) >= source_channels or len(set(channels)) < len(channels):
            detail = f"found {channels[:16]}; distinct numbers from 0 to {source_channels - 1} are allowed"
            raise OptionError(Problem("out_of_range", detail, "/channels"))
        steps, why_steps = _choose_steps(stated.length, shapes[:, time_axis])
        return {
            "kind": self.name,
            "version": self.version,
            "input_shape": [len(channels), steps],
            "input_dtype": "float32",
            "layout": layout,
            "source_channels": source_channels,
            "channels": channels,
            "crop": "start",
            "pad": "end_with_mean",
            "clip": CLIP,
            "notes": [why_layout, why_steps],
        }

    def decode(self, raw: RawValue, recipe: Recipe) -> NDArray[np.float32]:
        """Channels x time, cropped at the end or filled up with NaN."""
        array = read_array(raw)
        _check_two_axes(array.shape)
        series_CT = array if recipe["layout"] == "channels_time" else array.T
        if len(series_CT) != recipe["source_channels"]:
            raise RowError(
                "incompatible_shape",
                f"found an array of shape {array.shape}; {recipe['layout']} with "
                f"{recipe['source_channels']} channels is expected",
            )
        channels, steps = recipe["input_shape"]
        decoded = np.full((channels, steps), np.nan, np.float32)
        values = to_float32(series_CT[recipe["channels"]])[:, :steps]
        decoded[:, : values.shape[1]] = values
        return decoded

    def fit(self, decoded: NDArray[Any], recipe: Recipe) -> Recipe:
        """Mean and standard deviation per channel, of real samples."""
        mean, std = mean_and_std(decoded, keep_axis=1, is_counted=np.isfinite)
        return recipe | {"mean": mean.tolist(), "std": std.tolist()}

    def to_input(self, decoded: NDArray[Any], recipe: Recipe) -> NDArray[np.float32]:
        """Standardised per channel and clipped; 0 where the series had ended."""
        inputs = affine(decoded, recipe["mean"], recipe["std"], (1, -1, 1))
        np.nan_to_num(inputs, copy=False, nan=0.0)
        return np.clip(inputs, -recipe["clip"], recipe["clip"], out=inputs)

    def augment(
        self, inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength, recipe: Recipe
    ) -> NDArray[Any]:
        """Random gain per channel, noise, and a shift in time with the mean moving in."""
        if strength == "none":
            return inputs
        count, channels, steps = inputs.shape
        reach = max(1, round(steps * SHIFT_FRACTION[strength]))
        changed = np.zeros_like(inputs)
        for index, offset in enumerate(rng.integers(-reach, reach + 1, count).tolist()):
            kept = steps - abs(offset)
            target, source = max(offset, 0), max(-offset, 0)
            changed[index, :, target : target + kept] = inputs[index, :, source : source + kept]
        gain = 1 + SCALING[strength] * rng.standard_normal((count, channels, 1), dtype=np.float32)
        changed *= gain
        changed += np.float32(NOISE[strength]) * rng.standard_normal(inputs.shape, dtype=np.float32)
        return changed


def _check_two_axes(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or 0 in shape:
        raise RowError(
            "incompatible_shape",
            f"found an array of shape {shape}; series are (time, channels) or (channels, time)",
        )


def _choose_layout(stated: Layout | None, shapes: NDArray[np.int64]) -> tuple[Layout, str]:
    if stated is not None:
        return stated, f"layout: {stated}, as stated"
    varies = [len(set(shapes[:, axis].tolist())) > 1 for axis in (0, 1)]
    if varies[0] != varies[1]:
        layout: Layout = "time_channels" if varies[0] else "channels_time"
        return layout, f"layout: {layout}, because that axis differs between series"
    first, second = (int(np.median(shapes[:, axis])) for axis in (0, 1))
    layout = "time_channels" if first >= second else "channels_time"
    return layout, f"layout: {layout}, because time is the longer axis of {first} x {second}"


def _choose_steps(stated: int | None, lengths: NDArray[np.int64]) -> tuple[int, str]:
    if stated is not None:
        return stated, f"length: {stated} steps, as stated"
    if (lengths == lengths[0]).all():
        steps, why = int(lengths[0]), "as all training series have"
    else:
        steps, why = int(np.ceil(np.percentile(lengths, 95))), "which 95 % of the training series fit into"
    if steps > DEFAULT_MAX_STEPS:
        return (
            DEFAULT_MAX_STEPS,
            f"length: {DEFAULT_MAX_STEPS} steps, the most without stating more, of {steps}",
        )
    return steps, f"length: {steps} steps, {why}"
