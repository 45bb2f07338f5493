"""What a kind of modality must provide. numpy only: this code also runs where there is no torch.

Life of a column of raw values:
    inspect(raw) -> Facts                       one value's header: shape, rate, length; nothing is decoded
    resolve(options, training facts) -> Recipe  fixes every size by looking at the training split
    decode(raw, recipe) -> array                one value, fixed shape, storage dtype
    fit(decoded training values, recipe) -> Recipe   adds the normalisation statistics
    to_input(decoded batch, recipe) -> array    what the network eats: float32, or int64 token ids
    augment(input batch, rng, strength, recipe) -> array        training only, seeded
A `Recipe` is plain JSON and is the whole of `preprocess.json`: decode + to_input at serving time
give bit for bit what training saw.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fdkd_core.modalities.options import refusal
from fdkd_core.spec.catalogue import KindName
from fdkd_core.spec.strict import StrictModel

RawValue = bytes | str | NDArray[Any]
"""A value before decoding: the bytes of a file, text, or an array (from .npz or a parquet list)."""

AugmentStrength = Literal["none", "light", "strong"]


class RowError(ValueError):
    """One value cannot be decoded. `code` is the problem code; the message says what is allowed."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail

    def __reduce__(self) -> tuple[type[RowError], tuple[str, str]]:  # crosses a process boundary
        return (RowError, (self.code, self.detail))


class RawColumn(Protocol):
    """One modality of a dataset, not yet decoded."""

    name: str

    def __len__(self) -> int: ...

    def read(self, row: int) -> RawValue:
        """The raw value of a row. Raises RowError when it is missing or over a limit."""
        ...

    def key(self, row: int) -> Hashable:
        """Equal keys promise equal raw values, so that a file named by many rows is decoded once."""
        ...

    def file_name(self, row: int) -> str | None:
        """The member path behind a row, whose suffix tells the format; None for inline values."""
        ...


Recipe = dict[str, Any]
"""JSON: `kind`, `version`, `input_shape` (without batch), `input_dtype`, and what the kind needs."""

Facts = dict[str, Any]
"""What `inspect` found in one value; only the same kind's `resolve` reads it."""


MAX_INPUT_VALUES = 1 << 24
"""Numbers in one network input: 64 MiB of float32, far above any sensible image or spectrogram."""


class RecipeModel(StrictModel):
    """What every kind's recipe carries; each kind adds its own bounded fields.

    The bounds matter because a recipe may come with an uploaded model: none of its numbers may make
    `decode` allocate without limit.
    """

    input_shape: Annotated[list[Annotated[int, Field(ge=1, le=65_536)]], Field(min_length=1, max_length=3)]
    """Shape of one network input, without the batch."""
    input_dtype: Literal["float32", "int64"]
    notes: Annotated[list[Annotated[str, Field(max_length=400)]], Field(max_length=16)] = Field(
        default_factory=list
    )
    """Choices made for the user, each with its reason; for people only."""

    @model_validator(mode="after")
    def _is_consistent(self) -> RecipeModel:
        if math.prod(self.input_shape) > MAX_INPUT_VALUES:
            raise refusal(
                "exceeds_limit",
                f"an input of shape {self.input_shape} has more than {MAX_INPUT_VALUES} numbers",
            )
        self.check()
        return self

    def check(self) -> None:
        """What each kind asks of its fields together. Raises `refusal`."""


class StandardisedRecipe(RecipeModel):
    """What the recipe of a kind carries whose inputs are numbers, standardised by channel."""

    input_dtype: Literal["float32"]
    mean: Annotated[list[float], Field(min_length=1, max_length=65_536)]
    std: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1, max_length=65_536)]
    """0 marks a channel that was constant in training: its input is always 0."""

    @property
    def num_standardised(self) -> int:
        """How many channels have a mean and a deviation: those of the first axis."""
        return self.input_shape[0]

    def check(self) -> None:
        """There are as many means and deviations as channels."""
        count = self.num_standardised
        if not len(self.mean) == len(self.std) == count:
            detail = f"found {len(self.mean)} means and {len(self.std)} deviations for {count} channels"
            raise refusal("incompatible", detail)


class Kind(Protocol):
    """One kind of modality; `fdkd_core.modalities.KINDS` is the table of them."""

    @property
    def name(self) -> KindName:
        """Its key in `KINDS`."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same recipe would give other numbers."""
        ...

    @property
    def is_native(self) -> bool:
        """Whether files go through a C library, which must not run on users' bytes in this process."""
        ...

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """Type of decoded values; their shape is the recipe's `input_shape`."""
        ...

    @property
    def options_model(self) -> type[StrictModel]:
        """The options a user may state in dataset.yaml."""
        ...

    @property
    def recipe_model(self) -> type[RecipeModel]:
        """The recipe with every bound, to check recipes that come from outside."""
        ...

    def inspect(self, raw: RawValue) -> Facts:
        """Reads one value's header in Python. Raises RowError when it is refused."""
        ...

    def resolve(self, options: dict[str, Any], facts: Sequence[Facts]) -> Recipe:
        """Fixes every size. Raises OptionError for options that are unknown or do not fit the data."""
        ...

    def decode(self, raw: RawValue, recipe: Recipe) -> NDArray[Any]:
        """One value in `input_shape` and `stored_dtype`. Raises RowError."""
        ...

    def fit(self, decoded: NDArray[Any], recipe: Recipe) -> Recipe:
        """The recipe with statistics of `decoded`, the training values [N, *input_shape]."""
        ...

    def to_input(self, decoded: NDArray[Any], recipe: Recipe) -> NDArray[Any]:
        """Decoded values [B, *input_shape] as the network wants them; never changes its argument."""
        ...

    def augment(
        self, inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength, recipe: Recipe
    ) -> NDArray[Any]:
        """A changed copy of network inputs [B, *input_shape]; the same array for strength `none`."""
        ...
