"""Several methods at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from fdkd_core.methods.balance import GradientBalance
from fdkd_core.methods.base import Method, MethodContext, StepViews, weight_factor
from fdkd_core.spec import CombineSpec, LeafMethodSpec


class Combine(Method):
    """CE + sum over the parts of weight * (its terms, by its own weights, schedule and balance).

    Terms are called `part.term`, such as `fd_cmkd.low`; see `CombineSpec.part_names`.

    Args:
        spec: The parts.
        context: What each of them is built for.
        build: Builds a part.
    """

    def __init__(
        self,
        spec: CombineSpec,
        context: MethodContext,
        build: Callable[[LeafMethodSpec, MethodContext], Method],
    ) -> None:
        super().__init__()
        self.names = spec.part_names
        self.factors = [part.weight for part in spec.parts]
        methods = [build(part.method, context) for part in spec.parts]
        self.parts = nn.ModuleList(methods)
        self.needs_teacher_inputs = any(method.needs_teacher_inputs for method in methods)
        self.weights = gathered(self.names, self.factors, [method.weights for method in methods])
        self.balance = take_balance(self.names, methods)

    @property
    def methods(self) -> list[Method]:
        """The parts, in order."""
        return cast(list[Method], list(self.parts))

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """The terms of all parts."""
        return {
            prefixed(name, term): value
            for name, method in zip(self.names, self.methods, strict=True)
            for term, value in method.terms(views).items()
        }

    def weights_at(self, progress: float) -> dict[str, float]:
        """Weights of all terms: each part's own at this time, by its factor and the whole's schedule."""
        whole = weight_factor(self.weight_schedule, progress)
        weights = gathered(self.names, self.factors, [method.weights_at(progress) for method in self.methods])
        return {name: whole * weight for name, weight in weights.items()}


def prefixed(name: str, term: str) -> str:
    """What a term of one of several methods is called; those of a method without a name keep theirs."""
    return f"{name}.{term}" if name else term


def gathered(
    names: Sequence[str], factors: Sequence[float], weights: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """The weights of several methods in one, each by its method's factor."""
    return {
        prefixed(name, term): factor * weight
        for name, factor, own in zip(names, factors, weights, strict=True)
        for term, weight in own.items()
    }


def take_balance(names: Sequence[str], methods: Sequence[Method]) -> GradientBalance | None:
    """One balance for the terms of all methods that have one, in place of theirs.

    So that the gradient of the task is taken once in a step.
    """
    balanced: list[str] = []
    for name, method in zip(names, methods, strict=True):
        if method.balance is not None:
            balanced += [prefixed(name, term) for term in method.balance.names]
            method.balance = None
    return GradientBalance(balanced) if balanced else None
