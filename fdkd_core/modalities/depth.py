"""Depth maps: single-channel PNG or arrays, as float32 1 x height x width. Zero means no measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fdkd_core.modalities.arrays import NPY_MAGIC, read_array, to_float32
from fdkd_core.modalities.base import (
    AugmentStrength,
    Facts,
    RawValue,
    Recipe,
    RowError,
    StandardisedRecipe,
)
from fdkd_core.modalities.image_header import ImageHeader, check_pixels, read_image_header
from fdkd_core.modalities.options import parse
from fdkd_core.modalities.picture import Size, choose_size, open_picture, shift
from fdkd_core.modalities.statistics import affine, mean_and_std
from fdkd_core.spec.catalogue import KindName
from fdkd_core.spec.strict import StrictModel

Scale = Annotated[float, Field(gt=0, le=1e6)]

RANGE_JITTER = {"light": 0.05, "strong": 0.1}
"""Largest shift of all measured depths together, in standard deviations: a camera nearer or farther."""


class DepthOptions(StrictModel):
    """Options of a depth column."""

    size: Size | None = None
    """Pixels: one number for a square, or [height, width]. Inferred when absent."""
    scale: Scale = 1.0
    """Metres per stored unit, such as 0.001 for millimetres; 1 keeps the stored units. Normalisation
    makes training independent of it: it gives the recipe's mean and std their unit."""


class DepthRecipe(StandardisedRecipe):
    """`preprocess.json` of a depth map; mean and deviation are those of measured depths, after `scale`."""

    kind: Literal["depth"]
    version: Literal["depth-1"]
    input_shape: Annotated[list[Annotated[int, Field(ge=1, le=1024)]], Field(min_length=3, max_length=3)]
    resize: Literal["nearest"]
    scale: Scale


class DepthKind:
    """Depth maps."""

    name: KindName = "depth"
    version = "depth-1"
    is_native = True
    stored_dtype = np.dtype(np.float32)
    options_model = DepthOptions
    recipe_model = DepthRecipe

    def inspect(self, raw: RawValue) -> Facts:
        """Height and width, from the header or the array."""
        if isinstance(raw, bytes) and not raw.startswith(NPY_MAGIC):
            header = _read_header(raw)
            return {"height": header.height, "width": header.width}
        height, width = _plane(read_array(raw)).shape
        return {"height": height, "width": width}

    def resolve(self, options: dict[str, Any], facts: Sequence[Facts]) -> Recipe:
        """Fixes the size."""
        stated = parse(DepthOptions, options)
        height, width, why_size = choose_size(stated.size, facts)
        return {
            "kind": self.name,
            "version": self.version,
            "input_shape": [1, height, width],
            "input_dtype": "float32",
            "resize": "nearest",
            "scale": float(stated.scale),
            "notes": [why_size, "missing: pixels of value 0 are missing and stay 0 in the input"],
        }

    def decode(self, raw: RawValue, recipe: Recipe) -> NDArray[np.float32]:
        """Depths in units of `scale`, resized by nearest pixel; 0 where missing."""
        if isinstance(raw, bytes) and not raw.startswith(NPY_MAGIC):
            plane = np.asarray(open_picture(raw, _read_header(raw)))
        else:
            plane = _plane(read_array(raw))
        _, height, width = recipe["input_shape"]
        # Nearest pixel: averaging would mix missing zeros into their neighbours and blur depth edges.
        rows = ((np.arange(height) + 0.5) * (plane.shape[0] / height)).astype(np.int64)
        columns = ((np.arange(width) + 0.5) * (plane.shape[1] / width)).astype(np.int64)
        if plane.shape != (height, width):
            plane = plane[rows][:, columns]
        depth = to_float32(plane * np.float64(recipe["scale"]))
        if (depth < 0).any():
            raise RowError("invalid_values", "depths must be 0 (missing) or positive, found negative ones")
        return depth[None]

    def fit(self, decoded: NDArray[Any], recipe: Recipe) -> Recipe:
        """Mean and standard deviation of measured depths."""
        mean, std = mean_and_std(decoded, keep_axis=1, is_counted=lambda piece: piece > 0)
        return recipe | {"mean": mean.tolist(), "std": std.tolist()}

    def to_input(self, decoded: NDArray[Any], recipe: Recipe) -> NDArray[np.float32]:
        """Measured depths standardised; missing ones 0."""
        inputs = affine(decoded, recipe["mean"], recipe["std"], (1, 1, 1, 1))
        inputs[decoded == 0] = 0.0  # missing: the mean, and the one value the network can learn to ignore
        return inputs

    def augment(
        self, inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength, recipe: Recipe
    ) -> NDArray[Any]:
        """Random shift, with missing pixels moving in, then all measured depths moved together."""
        if strength == "none":
            return inputs
        return vary_range(shift(inputs, rng, strength, fill=0.0), rng, strength)


def vary_range(inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength) -> NDArray[Any]:
    """All measured depths of each map moved together, in a copy; every pixel stays in its place."""
    if strength == "none":
        return inputs
    reach = RANGE_JITTER[strength]
    offset = rng.uniform(-reach, reach, (len(inputs), 1, 1, 1)).astype(np.float32)
    varied: NDArray[Any] = inputs + offset * (inputs != 0)
    return varied


def _read_header(raw: bytes) -> ImageHeader:
    header = read_image_header(raw)
    if header.format != "PNG" or not header.is_gray or header.has_alpha or header.bit_depth < 8:
        raise RowError(
            "unsupported_format",
            f"depth maps are PNG with one channel of 8 or 16 bits, found {header.format} with "
            f"{'gray' if header.is_gray else 'colour'} of {header.bit_depth} bits",
        )
    return header


def _plane(array: NDArray[Any]) -> NDArray[Any]:
    """A depth array as height x width."""
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    elif array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 or 0 in array.shape:
        raise RowError(
            "incompatible_shape",
            f"found an array of shape {array.shape}; depth maps are (H, W), (1, H, W) or (H, W, 1)",
        )
    check_pixels(array.shape[1], array.shape[0])
    return array
