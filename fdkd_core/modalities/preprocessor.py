"""From users' values to network inputs, by a recipe that may have come with somebody's model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.errors import InputError, ModelFileError, Problem, quote
from fdkd_core.modalities import KINDS, kind_of
from fdkd_core.modalities.base import Kind, RawValue, Recipe, RowError
from fdkd_core.modalities.options import MAX_PROBLEMS, OptionError, parse

MAX_FILE_BYTES = 256 << 20
"""One file, held in memory as a whole while it is decoded."""


class Preprocessor:
    """What one modality does to values before its network sees them.

    Args:
        recipe: A fitted recipe, such as `ModalityData.recipe` or the content of `preprocess.json`.

    Raises:
        ModelFileError: The recipe is not one that this version understands, or is out of bounds.
    """

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        self.kind: Kind = _find_kind(recipe)
        try:
            model = parse(self.kind.recipe_model, recipe)
        except OptionError as error:
            raise ModelFileError(error.problems) from None
        self.recipe: Recipe = model.model_dump()

    @classmethod
    def from_json(cls, content: str | bytes | Mapping[str, Any]) -> Preprocessor:
        """Reads `preprocess.json`, as text or parsed.

        Raises:
            ModelFileError: The content is not a recipe within bounds.
        """
        if isinstance(content, Mapping):
            return cls(content)
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError):
            raise ModelFileError(Problem("invalid_json", "preprocess.json is not JSON")) from None
        if not isinstance(parsed, dict):
            raise ModelFileError(Problem("wrong_type", "preprocess.json must hold an object"))
        return cls(parsed)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one network input, without the batch."""
        return tuple(self.recipe["input_shape"])

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """float32, or int64 for token ids."""
        return np.dtype(self.recipe["input_dtype"])

    def to_json(self) -> Recipe:
        """The recipe: JSON that `from_json` takes back without losing a bit."""
        return dict(self.recipe)

    def decode(self, raw: RawValue) -> NDArray[Any]:
        """One value in storage form, shape `input_shape`. Raises RowError."""
        return self.kind.decode(raw, self.recipe)

    def to_input(self, decoded: NDArray[Any]) -> NDArray[Any]:
        """Network inputs of decoded values [B, *input_shape]."""
        return self.kind.to_input(decoded, self.recipe)

    def prepare(self, values: Iterable[RawValue | Path | list[Any]]) -> NDArray[Any]:
        """Values ready for the network: shape [B, *input_shape], dtype `input_dtype`.

        Args:
            values: Paths, file contents, arrays or nested lists. A string is a text where the recipe is
                one for text, and a path elsewhere.

        Raises:
            InputError: Values that cannot be used, at most ten, with their number counted from 1.
        """
        decoded, problems = [], []
        for number, value in enumerate(values, start=1):
            try:
                decoded.append(self.decode(self._read(value)))
            except RowError as error:
                problems.append(Problem(error.code, error.detail, row=number))
        if problems:
            raise InputError(problems[:MAX_PROBLEMS])
        stored_shape = (len(decoded), *self.input_shape)
        return self.to_input(np.array(decoded, self.kind.stored_dtype).reshape(stored_shape))

    def _read(self, value: RawValue | Path | list[Any]) -> RawValue:
        if isinstance(value, str) and self.kind.name != "text":
            value = Path(value)
        if isinstance(value, list):
            try:
                return np.asarray(value)
            except ValueError:
                raise RowError(
                    "invalid_array", "expected a regular list of numbers, found a ragged one"
                ) from None
        if not isinstance(value, Path):
            return value
        try:
            with value.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            raise RowError("missing_file", f"cannot read {quote(str(value))}: {reason}") from None
        if len(content) > MAX_FILE_BYTES:
            raise RowError("exceeds_limit", f"{quote(str(value))} is larger than {MAX_FILE_BYTES} bytes")
        return content


def _find_kind(recipe: Mapping[str, Any]) -> Kind:
    name = recipe.get("kind")
    if not isinstance(name, str) or name not in KINDS:
        detail = f"found {quote(name)}; allowed are {', '.join(sorted(KINDS))}"
        raise ModelFileError(Problem("not_allowed", detail, "/kind"))
    version = recipe.get("version")
    return kind_of({"kind": name, "version": version if isinstance(version, str) else ""})
