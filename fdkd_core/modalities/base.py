"""What a kind of modality must provide. numpy only: this code also runs where there is no torch.

Life of a column of raw values:
    resolve(options, raw training values) -> Recipe     fixes every size by looking at the training split
    decode(raw, recipe) -> array                        one value, fixed shape, storage dtype
    fit(decoded training values, recipe) -> Recipe      adds the normalisation statistics
    to_input(decoded batch, recipe) -> array            what the network eats: float32, or int64 token ids
    augment(input batch, rng, strength) -> array        training only, seeded
A `Recipe` is plain JSON and is the whole of `preprocess.json`: decode + to_input at serving time
give bit for bit what training saw.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

RawValue = bytes | str | NDArray[Any]
"""A value before decoding: the bytes of a file, text, or an array (from .npz or a parquet list)."""

AugmentStrength = Literal["none", "light", "strong"]
KindName = Literal["image", "depth", "audio", "text", "series", "vector"]


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


class Kind(Protocol):
    """One kind of modality; `fdkd_core.modalities.KINDS` is the table of them."""

    name: KindName

    def resolve(self, options: dict[str, Any], samples: Sequence[RawValue]) -> Recipe: ...

    def decode(self, raw: RawValue, recipe: Recipe) -> NDArray[Any]: ...

    def fit(self, decoded: NDArray[Any], recipe: Recipe) -> Recipe: ...

    def to_input(self, decoded: NDArray[Any], recipe: Recipe) -> NDArray[Any]: ...

    def augment(
        self, inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength, recipe: Recipe
    ) -> NDArray[Any]: ...
