"""What tuning varies, by method: one table, and what happens to a method that is not in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fdkd_core.spec import (
    C2KDSpec,
    CIRKDSpec,
    CombineSpec,
    FDCMKDSpec,
    LogitKDSpec,
    MethodSpec,
    NKDSpec,
    NoneSpec,
    TaskSpec,
)


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


CARRIERS: dict[tuple[type, str], tuple[str, ...]] = {
    (NKDSpec, "temperature"): ("non_target_weight",),
    (C2KDSpec, "temperature"): ("proxy_weight", "cross_weight"),
    (CIRKDSpec, "temperature"): ("logit_weight",),
}
"""Of parameters that are not in every term of their method: the weights of the terms that they are in."""

WITHOUT_DISTRIBUTION = ("regression", "retrieval")
"""Tasks whose answers logit distillation softens by no temperature."""


def space_of(method: MethodSpec, task: TaskSpec | None = None) -> Space:
    """The method's line of the table; without one, its weights and its temperature are searched.

    Less what changes nothing for this spec: a trial at another value of it would be the same training.

    Args:
        method: As it is stated.
        task: Of the job; None for classification.
    """
    felt = felt_weights(method, task)
    if isinstance(method, CombineSpec):
        # What the parts weigh against each other is stated; how much all of them weigh is searched.
        return Space(weights=felt)
    line = SPACES.get(type(method)) or Space(weight_fields(method), parameters=_temperature(method))
    return Space(
        tuple(name for name in line.weights if name in felt),
        {name: ratio for name, ratio in line.ratios.items() if name in felt},
        {name: values for name, values in line.parameters.items() if _is_felt(name, method, felt, task)},
    )


def felt_weights(method: MethodSpec, task: TaskSpec | None = None) -> tuple[str, ...]:
    """The weights of a method that are factors of something: of a term that there is, and not 0.

    Args:
        method: As it is stated. Of a combination, the factors of its parts.
        task: Of the job; None for classification.
    """
    if isinstance(method, CombineSpec):
        return tuple(
            f"parts.{index}.weight"
            for index, part in enumerate(method.parts)
            if part.weight > 0.0 and felt_weights(part.method, task)
        )
    absent = set()
    if isinstance(method, FDCMKDSpec):
        has_losses = task is None or task.kind != "segmentation"
        terms = {
            "high_weight": method.split,
            "align_weight": method.shared_classifier and has_losses,
            "band_head_weight": method.band_heads and has_losses,
        }
        absent = {name for name, is_there in terms.items() if not is_there}
    return tuple(name for name in weight_fields(method) if name not in absent and getattr(method, name) > 0.0)


def _is_felt(name: str, method: MethodSpec, felt: tuple[str, ...], task: TaskSpec | None) -> bool:
    """Whether another value of a parameter makes another training."""
    if isinstance(method, FDCMKDSpec) and not method.split and name == "cutoff":
        return False
    if isinstance(method, LogitKDSpec) and task is not None and task.kind in WITHOUT_DISTRIBUTION:
        return False
    carriers = CARRIERS.get((type(method), name), felt)
    return any(carrier in felt for carrier in carriers)


def _temperature(method: MethodSpec) -> dict[str, Between | OneOf]:
    """Half to twice a temperature, if there is one: how soft is soft enough depends on the teacher."""
    stated = getattr(method, "temperature", None)
    return {"temperature": Between(stated / 2, stated * 2, log=True)} if isinstance(stated, float) else {}


def weight_fields(method: MethodSpec) -> tuple[str, ...]:
    """The numeric fields of a method that are called weights."""
    return tuple(name for name, value in method if "weight" in name and isinstance(value, float))
