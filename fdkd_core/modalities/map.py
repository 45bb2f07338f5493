"""Maps of numbers: arrays of shape (channels, height, width), such as what another network answers by pixel.

Stored in half precision: they are many numbers, of which the first three digits count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fdkd_core.errors import Problem
from fdkd_core.modalities.arrays import read_array, to_float32
from fdkd_core.modalities.base import (
    MAX_INPUT_VALUES,
    AugmentStrength,
    Facts,
    RawValue,
    Recipe,
    RowError,
    StandardisedRecipe,
)
from fdkd_core.modalities.options import OptionError, parse
from fdkd_core.modalities.statistics import affine, mean_and_std
from fdkd_core.spec.catalogue import KindName
from fdkd_core.spec.strict import StrictModel

MAX_CHANNELS, MAX_SIDE = 65_536, 1024
NOISE = {"light": 0.05, "strong": 0.1}
"""In standard deviations of the channel."""
_ALLOWED = f"{MAX_CHANNELS:,} channels, sides of {MAX_SIDE} and {MAX_INPUT_VALUES:,} numbers are allowed"
_LARGEST = float(np.finfo(np.float16).max)


_Shape = Annotated[list[Annotated[int, Field(ge=1, le=MAX_CHANNELS)]], Field(min_length=3, max_length=3)]


class MapOptions(StrictModel):
    """Options of a column of maps."""

    shape: _Shape | None = None
    """(channels, height, width), which flat lists need, such as those of a parquet file: the last axis runs
    fastest. Null: the usual shape of the training maps."""


class MapRecipe(StandardisedRecipe):
    """`preprocess.json` of a map."""

    kind: Literal["map"]
    version: Literal["map-1"]
    input_shape: _Shape


class MapKind:
    """Maps of numbers."""

    name: KindName = "map"
    version = "map-1"
    is_native = False
    stored_dtype = np.dtype(np.float16)
    options_model = MapOptions
    recipe_model = MapRecipe

    def inspect(self, raw: RawValue) -> Facts:
        """The shape, from the header or the array; of a flat list, how many numbers there are."""
        shape = read_array(raw).shape  # of a file by its header: nothing is copied
        if len(shape) == 1 and 0 < shape[0] <= MAX_INPUT_VALUES:
            return {"shape": tuple(shape)}
        if len(shape) != 3 or 0 in shape:
            detail = f"found an array of shape {shape}; maps are (channels, height, width)"
            raise RowError("incompatible_shape", detail)
        if _is_too_large(shape):
            raise RowError("incompatible_shape", f"found an array of shape {shape}; {_ALLOWED}")
        return {"shape": tuple(shape)}

    def resolve(self, options: dict[str, Any], facts: Sequence[Facts]) -> Recipe:
        """Fixes the shape."""
        stated = parse(MapOptions, options)
        if not facts:
            raise OptionError(Problem("missing_field", "no training map to infer a size from"))
        # The usual one; a map of another is refused when it is decoded.
        shape = stated.shape or Counter(tuple(fact["shape"]) for fact in facts).most_common(1)[0][0]
        if len(shape) != 3:
            detail = f"the maps are lists of {shape[0]} numbers; state their (channels, height, width)"
            raise OptionError(Problem("missing_field", detail, "/shape"))
        if _is_too_large(shape):
            raise OptionError(Problem("exceeds_limit", f"found {list(shape)}; {_ALLOWED}", "/shape"))
        return {
            "kind": self.name,
            "version": self.version,
            "input_shape": list(shape),
            "input_dtype": "float32",
            "notes": [],
        }

    def decode(self, raw: RawValue, recipe: Recipe) -> NDArray[np.float16]:
        """The map in half precision; what lies beyond its range, 65,504, is put at its end."""
        array = read_array(raw)
        if array.shape == (prod(recipe["input_shape"]),):  # a flat list
            array = array.reshape(recipe["input_shape"])
        if list(array.shape) != recipe["input_shape"]:
            detail = f"found an array of shape {array.shape}; {tuple(recipe['input_shape'])} is expected"
            raise RowError("incompatible_shape", detail)
        return to_float32(array).clip(-_LARGEST, _LARGEST).astype(np.float16)

    def fit(self, decoded: NDArray[Any], recipe: Recipe) -> Recipe:
        """Mean and standard deviation per channel; exactly 0 for a constant one."""
        mean, std = mean_and_std(decoded, keep_axis=1)
        return recipe | {"mean": mean.tolist(), "std": std.tolist()}

    def to_input(self, decoded: NDArray[Any], recipe: Recipe) -> NDArray[np.float32]:
        """Standardised per channel."""
        return affine(decoded, recipe["mean"], recipe["std"], (1, -1, 1, 1))

    def augment(
        self, inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength, recipe: Recipe
    ) -> NDArray[Any]:
        """Adds noise; nothing is shifted, as places may matter."""
        if strength == "none":
            return inputs
        noise = np.float32(NOISE[strength]) * rng.standard_normal(inputs.shape, dtype=np.float32)
        changed: NDArray[Any] = inputs + noise
        return changed


def _is_too_large(shape: Sequence[int]) -> bool:
    return shape[0] > MAX_CHANNELS or max(shape[1:]) > MAX_SIDE or prod(shape) > MAX_INPUT_VALUES
