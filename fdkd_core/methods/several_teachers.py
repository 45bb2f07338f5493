"""One method, several teachers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from fdkd_core.methods.base import Method, StepViews
from fdkd_core.methods.combine import gathered, prefixed, take_balance


class SeveralTeachers(Method):
    """CE + sum over the teachers of weight * (the terms of its own instance of the method).

    Terms are called as the method calls them for the first teacher, and `teacher2.low` for the others. A
    row's terms are multiplied by its `row_weights`, where there are some.

    Args:
        names: One for each teacher, "" for the first.
        factors: Weight of each.
        methods: Of each, with parameters of its own.
    """

    def __init__(self, names: Sequence[str], factors: Sequence[float], methods: Sequence[Method]) -> None:
        super().__init__()
        self.names, self.factors = list(names), list(factors)
        self.per_teacher = nn.ModuleList(methods)
        self.needs_teacher_inputs = any(method.needs_teacher_inputs for method in methods)
        self.weights = gathered(self.names, self.factors, [method.weights for method in methods])
        self.balance = take_balance(self.names, methods)

    @property
    def methods(self) -> list[Method]:
        """Of each teacher, in order."""
        return cast(list[Method], list(self.per_teacher))

    def teach(self, lessons: Sequence[StepViews | None]) -> dict[str, Float[Tensor, " _"]]:
        """The terms of all teachers that have a view of some row."""
        return {
            prefixed(name, term): value if views.row_weights is None else views.row_weights * value
            for name, method, views in zip(self.names, self.methods, lessons, strict=True)
            if views is not None
            for term, value in method.terms(views).items()
        }

    def weights_at(self, progress: float) -> dict[str, float]:
        """Weights of all terms: each teacher's by its own schedule and its factor."""
        return gathered(self.names, self.factors, [method.weights_at(progress) for method in self.methods])
