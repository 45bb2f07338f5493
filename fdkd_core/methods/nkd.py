"""Logit distillation with normalised wrong classes."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.decoupled import non_target_cross_entropy, soft_target_cross_entropy
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.spec import NKDSpec


class NKD(Method):
    """CE - p_t,y log p_s,y - g T^2 sum_i q_t,i log q_s,i over the classes i that are not y.

    References:
        Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with
        Normalized Loss and Customized Soft Labels", ICCV 2023, NKD.
    """

    def __init__(self, spec: NKDSpec, context: MethodContext) -> None:
        super().__init__()
        self.weights = {"target": spec.target_weight, "non_target": spec.non_target_weight}
        self.temperature = spec.temperature

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`target` and `non_target`, as cross-entropies: neither is 0 where student and teacher agree."""
        assert views.teacher is not None
        logits = views.student.logits, views.teacher.logits, views.labels
        return {
            "target": soft_target_cross_entropy(*logits),
            "non_target": non_target_cross_entropy(*logits, temperature=self.temperature),
        }
