"""Distillation of class scores."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.logits import tempered_kl
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.spec import LogitKDSpec


class LogitKD(Method):
    """CE + weight * T^2 KL(p_t || p_s) (Hinton, Vinyals and Dean 2015)."""

    def __init__(self, spec: LogitKDSpec, context: MethodContext) -> None:
        super().__init__()
        self.weights = {"logit": spec.weight}
        self.temperature = spec.temperature

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`logit`: the tempered divergence."""
        assert views.teacher is not None
        return {
            "logit": tempered_kl(views.student.logits, views.teacher.logits, temperature=self.temperature)
        }
