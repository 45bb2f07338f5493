"""How a method is tuned: the same budget for every method, the control included."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from fdkd_core.spec.strict import StrictModel


class RangeSpec(StrictModel):
    """From `low` to `high`, searched in logarithms."""

    low: Annotated[float, Field(gt=0.0, le=1e6)]
    """The least that is tried."""
    high: Annotated[float, Field(gt=0.0, le=1e6)]
    """The most; equal to `low` where nothing is to be searched."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise PydanticCustomError("out_of_range", "`low` is above `high`", {})
        return self


class TuningSpec(StrictModel):
    """Trials of one method: each trains once with the job's seed and is judged on the validation split."""

    trials: Annotated[int, Field(ge=1, le=1000)] = 8
    """Per method. With 1, everything stays as the spec states it. Few, because each is a whole training."""
    lr: RangeSpec | None = None
    """Learning rates; null takes a tenth to ten times the spec's own. A larger
    loss weight also raises the effective step, so no method is compared at another's rate."""
    weight_factor: RangeSpec = RangeSpec(low=0.1, high=10.0)
    """By what a method's weights are multiplied."""
    method_parameters: bool = True
    """Search the method's own parameters too (temperature, cutoff, ...); see `fdkd_core.studies.spaces`."""
    choose: Literal["beyond_noise", "best"] = "beyond_noise"
    """Which trial is taken. `beyond_noise`: the spec as stated, unless the best one is ahead of it on
    validation by more than the standard error of the difference (over groups where the data have them);
    `best`: the best, however little it is ahead. Alike for every method (docs/decisions/0036)."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the search."""
