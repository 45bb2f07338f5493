"""Distillation of exits in logit space."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from fdkd_core.losses.decoupled import enhanced_target_cross_entropy
from fdkd_core.losses.logits import cross_entropy
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.spec import OFAKDSpec


class OFAKD(Method):
    """CE + logit * (L_OFA of the student's classifier - CE) + exit * L_OFA of an exit on its feature.

    L_OFA = -(1 + p_t,y)^g log p_s,y - sum_i p_t,i log p_s,i, over the classes i that are not y.

    References:
        Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge
        Distillation", NeurIPS 2023. We differ in: one exit instead of four, as pooled features are what a
        network shows; it projects to the teacher's width, then ReLU and Linear, where the authors' exits are
        convolutions or blocks for the stages that lie before. The classifier's cross-entropy is the task
        loss, so that only the rest of L_OFA is a term; the exit has all of it, as in the paper, where the
        authors' code leaves its cross-entropy out.
    """

    def __init__(self, spec: OFAKDSpec, context: MethodContext) -> None:
        super().__init__()
        self.weights = {"exit": spec.exit_weight, "logit": spec.logit_weight}
        self.gamma = spec.gamma
        self.temperature = spec.temperature
        hidden_dim = context.teacher_dim or context.student_dim  # 0: the teacher shows its logits alone
        self.exit = nn.Sequential(
            nn.Linear(context.student_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, context.num_classes),
        )

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`exit` and `logit`; neither is 0 where student and teacher agree."""
        exit_BC = self.exit(views.student.features)
        return {
            "exit": cross_entropy(exit_BC, views.labels) + self._added(exit_BC, views),
            "logit": self._added(views.student.logits, views),
        }

    def _added(self, student_BC: Tensor, views: StepViews) -> Tensor:
        assert views.teacher is not None
        return enhanced_target_cross_entropy(
            student_BC, views.teacher.logits, views.labels, gamma=self.gamma, temperature=self.temperature
        )
