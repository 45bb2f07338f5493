"""What tuning varies, by method: one table, and what happens to a method that is not in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fdkd_core.spec import CombineSpec, FDCMKDSpec, LogitKDSpec, MethodSpec, NoneSpec


@dataclass(frozen=True)
class Between:
    """A number; the stated one is always within."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class OneOf:
    """A word; the stated one is always among them."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """What is searched beside the learning rate."""

    weights: tuple[str, ...] = ()
    """Fields that one common factor multiplies (`tuning.weight_factor`); `parts.0.weight` is of a part."""
    ratios: Mapping[str, Between] = field(default_factory=dict)
    """Of these weights, those with a further factor of their own, in multiples of what is stated."""
    parameters: Mapping[str, Between | OneOf] = field(default_factory=dict)
    """Further fields of the method."""


SPACES: dict[type, Space] = {
    NoneSpec: Space(),
    # T^2 multiplies the weight, so that a range of 8 in T is one of 64 in the pull.
    LogitKDSpec: Space(weights=("weight",), parameters={"temperature": Between(1.0, 8.0, log=True)}),
    # The weights of the classifiers stay: they are supervision by labels and no distance to the teacher.
    FDCMKDSpec: Space(
        weights=("low_weight", "high_weight"),
        ratios={"high_weight": Between(0.1, 10.0, log=True)},
        parameters={"cutoff": Between(0.25, 0.75)},
    ),
}
"""To search more of a method than its weights and its temperature, add a line. The first trial of every
method is the spec as it is stated, whatever the ranges."""


def space_of(method: MethodSpec) -> Space:
    """The method's line of the table; without one, its weights and its temperature are searched."""
    if isinstance(method, CombineSpec):
        # What the parts weigh against each other is stated; how much all of them weigh is searched.
        return Space(weights=tuple(f"parts.{index}.weight" for index in range(len(method.parts))))
    return SPACES.get(type(method)) or Space(weight_fields(method), parameters=_temperature(method))


def _temperature(method: MethodSpec) -> dict[str, Between | OneOf]:
    """Half to twice a temperature, if there is one: how soft is soft enough depends on the teacher."""
    stated = getattr(method, "temperature", None)
    return {"temperature": Between(stated / 2, stated * 2, log=True)} if isinstance(stated, float) else {}


def weight_fields(method: MethodSpec) -> tuple[str, ...]:
    """The numeric fields of a method that are called weights."""
    return tuple(name for name, value in method if "weight" in name and isinstance(value, float))
