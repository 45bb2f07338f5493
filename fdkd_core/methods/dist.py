"""Correlation of predictions."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.correlation import inter_class_distance, intra_class_distance
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.spec import DISTSpec


class DIST(Method):
    """CE + b (1 - mean_i rho(row i)) + g (1 - mean_c rho(column c)), rho of probabilities.

    References:
        Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, eq. 8 and 9. The
        task loss keeps factor 1, their alpha.
    """

    def __init__(self, spec: DISTSpec, context: MethodContext) -> None:
        super().__init__()
        self.weights = {"inter": spec.inter_weight, "intra": spec.intra_weight}
        self.temperature = spec.temperature

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`inter`: over the classes of a sample; `intra`: over the samples of a class."""
        assert views.teacher is not None
        student_BC, teacher_BC = views.student.logits, views.teacher.logits
        return {
            "inter": inter_class_distance(student_BC, teacher_BC, temperature=self.temperature),
            "intra": intra_class_distance(student_BC, teacher_BC, temperature=self.temperature),
        }
