"""Several distillation methods at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from fdkd_core.spec.methods.base import DistillingSpec, Weight
from fdkd_core.spec.methods.fd_cmkd import FDCMKDSpec
from fdkd_core.spec.methods.leaf import LeafMethodSpec
from fdkd_core.spec.methods.logit_kd import LogitKDSpec
from fdkd_core.spec.strict import StrictModel


class CombinedPart(StrictModel):
    """One method of a combination."""

    weight: Weight = 1.0
    """Factor of all terms of the method, beside its own weights: 1 leaves those as they are."""
    method: Annotated[LeafMethodSpec, Field(discriminator="name")]
    """With its own weight schedule and balance."""


class CombineSpec(DistillingSpec):
    """A weighted sum of methods: CE + sum of weight * (terms of the method), of one teacher's outputs.

    The weight schedule multiplies those of the parts. Each part has parameters of its own (projector,
    classifiers).
    """

    name: Literal["combine"] = "combine"
    parts: Annotated[tuple[CombinedPart, ...], Field(min_length=2, max_length=8)]
    """What is added up; a method may appear more than once."""

    @model_validator(mode="after")
    def _is_balanced_once(self) -> Self:
        if self.balance != "none" and any(part.method.balance != "none" for part in self.parts):
            raise PydanticCustomError(
                "conflicting_fields",
                "has `balance` set for the combination and for a part of it; set the one or the other",
                {},
            )
        return self

    @property
    def needs_teacher_inputs(self) -> bool:
        """Whether a part needs them."""
        return any(part.method.needs_teacher_inputs for part in self.parts)

    @property
    def knows_channel_order(self) -> bool:
        """Whether a part does."""
        return any(part.method.knows_channel_order for part in self.parts)

    @property
    def part_names(self) -> list[str]:
        """Of each part, what its terms are called by: the method's name, with a number from the second on."""
        return unique_names(part.method.name for part in self.parts)


def unique_names(names: Iterable[str]) -> list[str]:
    """The same names, each made unique by `#2`, `#3` from its second appearance on."""
    times: Counter[str] = Counter()
    found = []
    for name in names:
        times[name] += 1
        found.append(name if times[name] == 1 else f"{name}#{times[name]}")
    return found


FD_CMKD_WITH_LOGITS = CombineSpec(
    parts=(CombinedPart(method=FDCMKDSpec()), CombinedPart(method=LogitKDSpec()))
)
"""FD-CMKD on the features beside logit distillation, both at their own defaults: class scores tell which
classes are alike, and no distance of features does."""
