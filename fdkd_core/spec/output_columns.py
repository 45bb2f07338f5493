"""A teacher that is not here: what it said of each row lies in columns of the dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from fdkd_core.errors import Problem, quote
from fdkd_core.spec.strict import Key, StrictModel

Report = Mapping[str, Any]


class OutputColumnsSpec(StrictModel):
    """Which columns hold a teacher's outputs: vectors of numbers, one for each row; of a segmentation maps.

    Maps are [channels, height, width], no larger than the masks, and those of features and logits need not be
    of one size. They are kept in half precision.
    """

    features: Key | None = None
    """Column of the pooled vector that its classifier reads. Null: only methods on logits can be used."""
    logits: Key | None = None
    """Column of its class scores before any softmax or sigmoid, in the order of the dataset's classes; of a
    regression, of its answers in the unit of the labels. Null: only methods on features can be used, and how
    good the teacher is stays unknown."""

    @model_validator(mode="after")
    def _has_one_of_each(self) -> Self:
        if self.features is None and self.logits is None:
            raise PydanticCustomError("invalid_value", "names neither `features` nor `logits`", {})
        if self.features == self.logits:
            raise PydanticCustomError("conflicting_fields", "features and logits are two columns", {})
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that are named, the features first."""
        return tuple(name for name in (self.features, self.logits) if name is not None)


def output_column_problems(
    spec: OutputColumnsSpec,
    columns: Mapping[str, Report],
    outputs: Sequence[str],
    pointer: str,
    *,
    mask_shape: Sequence[int] | None = None,
) -> list[Problem]:
    """Why columns that are there cannot be a teacher's outputs.

    Args:
        spec: Which.
        columns: Of the dataset's report.
        outputs: Names of what a network for the dataset answers with: its classes or its targets.
        pointer: Where the teacher stands in the spec.
        mask_shape: Height and width of the masks of a segmentation, of which outputs are maps; null for
            vectors.
    """
    kind, what = ("vector", "vectors") if mask_shape is None else ("map", "maps [channels, height, width]")
    unit = "numbers a row" if mask_shape is None else "channels"
    problems = []
    for role, name in (("features", spec.features), ("logits", spec.logits)):
        column = columns.get(name or "")
        if column is None:
            continue
        where = f"{pointer}/outputs_from/{role}"
        sides = column["input_shape"][1:]
        if column["kind"] != kind:
            detail = f"the column {quote(name)} is {column['kind']}; outputs are {what}, one for each row"
            problems.append(Problem("incompatible", detail, where))
        elif role == "logits" and column["input_shape"][0] != len(outputs):
            detail = (
                f"the column {quote(name)} has {column['input_shape'][0]} {unit}; a network for this "
                f"dataset answers with {len(outputs)}"
            )
            problems.append(Problem("incompatible", detail, where))
        elif mask_shape is not None and any(a > b for a, b in zip(sides, mask_shape, strict=True)):
            detail = (
                f"the maps of {quote(name)} are {sides[0]} x {sides[1]}; the masks are {mask_shape[0]} x "
                f"{mask_shape[1]}, and no map may be larger"
            )
            problems.append(Problem("incompatible", detail, where))
    return problems
