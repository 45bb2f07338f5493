"""Decoupled logit distillation."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.decoupled import non_target_kl, target_class_kl
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.spec import DKDSpec


class DKD(Method):
    """CE + a T^2 KL(b_t || b_s) + b T^2 KL(q_t || q_s).

    b = (p_y, 1 - p_y) is how sure a network is of the label, q its softmax over the other classes.

    References:
        Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, eq. 7. Their warm-up of the weights is
        that of every method here, `weight_schedule.warmup_frac`; it moves with the steps, theirs with the
        epochs.
    """

    def __init__(self, spec: DKDSpec, context: MethodContext) -> None:
        super().__init__()
        self.weights = {"target": spec.target_weight, "non_target": spec.non_target_weight}
        self.temperature = spec.temperature

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`target` (TCKD) and `non_target` (NCKD; 0 with two classes)."""
        assert views.teacher is not None
        logits = views.student.logits, views.teacher.logits, views.labels
        return {
            "target": target_class_kl(*logits, temperature=self.temperature),
            "non_target": non_target_kl(*logits, temperature=self.temperature),
        }
