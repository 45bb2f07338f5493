"""Feature vectors: arrays of shape (D,), each feature standardised on its own."""

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
from fdkd_core.modalities.options import OptionError, parse
from fdkd_core.modalities.statistics import affine, mean_and_std
from fdkd_core.spec.catalogue import KindName
from fdkd_core.spec.strict import StrictModel

MAX_FEATURES = 65_536
CLIP = 10.0
"""Standard deviations beyond which inputs are cut. Hand-made features, such as those of openSMILE, have
heavy tails: ratios whose denominator once came near 0 would otherwise set every gradient."""

NOISE = {"light": 0.05, "strong": 0.1}
"""In standard deviations of the feature."""
DROPOUT = {"light": 0.05, "strong": 0.2}
"""Fraction of features set to 0, their mean."""


class VectorOptions(StrictModel):
    """Options of a vector column."""

    clip: Annotated[float, Field(gt=0, le=1e6)] = CLIP
    """Standard deviations beyond which inputs are cut."""


class VectorRecipe(StandardisedRecipe):
    """`preprocess.json` of a vector."""

    kind: Literal["vector"]
    version: Literal["vector-1"]
    input_shape: Annotated[
        list[Annotated[int, Field(ge=1, le=MAX_FEATURES)]], Field(min_length=1, max_length=1)
    ]
    clip: Annotated[float, Field(gt=0, le=1e6)]


class VectorKind:
    """Feature vectors."""

    name: KindName = "vector"
    version = "vector-1"
    is_native = False
    stored_dtype = np.dtype(np.float32)
    options_model = VectorOptions
    recipe_model = VectorRecipe

    def inspect(self, raw: RawValue) -> Facts:
        """The number of features, from the header or the array."""
        shape = read_array(raw).shape  # of a file by its header: nothing is copied
        if len(shape) != 1 or not 1 <= shape[0] <= MAX_FEATURES:
            raise RowError(
                "incompatible_shape",
                f"found an array of shape {shape}; vectors are (features,), 1 to {MAX_FEATURES} of them",
            )
        return {"features": shape[0]}

    def resolve(self, options: dict[str, Any], facts: Sequence[Facts]) -> Recipe:
        """Fixes the number of features."""
        stated = parse(VectorOptions, options)
        if not facts:
            raise OptionError(Problem("missing_field", "no training vector to infer a size from"))
        # The usual size; a vector of another one is refused when it is decoded.
        features = Counter(fact["features"] for fact in facts).most_common(1)[0][0]
        return {
            "kind": self.name,
            "version": self.version,
            "input_shape": [features],
            "input_dtype": "float32",
            "clip": float(stated.clip),
            "notes": [],
        }

    def decode(self, raw: RawValue, recipe: Recipe) -> NDArray[np.float32]:
        """The vector as float32."""
        array = read_array(raw)
        if list(array.shape) != recipe["input_shape"]:
            raise RowError(
                "incompatible_shape",
                f"found an array of shape {array.shape}; {recipe['input_shape'][0]} features are expected",
            )
        return to_float32(array)

    def fit(self, decoded: NDArray[Any], recipe: Recipe) -> Recipe:
        """Mean and standard deviation per feature; exactly 0 for a constant one."""
        mean, std = mean_and_std(decoded, keep_axis=1)
        num_constant = int((std == 0).sum())
        note = f"{num_constant} of {len(std)} features are constant in training; their input is always 0"
        notes = [*recipe["notes"], *([note] if num_constant else [])]
        return recipe | {"mean": mean.tolist(), "std": std.tolist(), "notes": notes}

    def to_input(self, decoded: NDArray[Any], recipe: Recipe) -> NDArray[np.float32]:
        """Standardised per feature and clipped."""
        inputs = affine(decoded, recipe["mean"], recipe["std"], (1, -1))
        return np.clip(inputs, -recipe["clip"], recipe["clip"], out=inputs)

    def augment(
        self, inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength, recipe: Recipe
    ) -> NDArray[Any]:
        """Adds noise, then sets random features to their mean."""
        if strength == "none":
            return inputs
        changed: NDArray[Any] = inputs + np.float32(NOISE[strength]) * rng.standard_normal(
            inputs.shape, dtype=np.float32
        )
        changed *= rng.random(inputs.shape, dtype=np.float32) >= DROPOUT[strength]
        return changed
