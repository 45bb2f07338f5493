"""Logit distillation with standardised logits."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.correlation import standardized_kl
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.spec import LSKDSpec
from fdkd_core.spec.catalogue import class_problems


class LSKD(Method):
    """CE + w T^2 KL of standardised logits.

    References:
        Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, applied to the plain KL.

    Raises:
        ValueError: There are fewer than 3 classes.
    """

    def __init__(self, spec: LSKDSpec, context: MethodContext) -> None:
        super().__init__()
        for problem in class_problems(spec, context.num_classes):
            raise ValueError(problem.detail)
        self.weights = {"logit": spec.weight}
        self.temperature = spec.temperature

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`logit`: the divergence after standardisation."""
        assert views.teacher is not None
        return {
            "logit": standardized_kl(views.student.logits, views.teacher.logits, temperature=self.temperature)
        }
