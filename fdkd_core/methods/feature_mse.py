"""Regression of the teacher's pooled features."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.features import l2_normalize, squared_error
from fdkd_core.methods.base import Method, MethodContext, StepViews, make_projector
from fdkd_core.spec import FeatureMSESpec


class FeatureMSE(Method):
    """CE + weight * ||r(F_s) - F_t||^2, on raw or on L2-normalised features (after Romero et al. 2015)."""

    def __init__(self, spec: FeatureMSESpec, context: MethodContext) -> None:
        super().__init__()
        self.weights = {"feature": spec.weight}
        self.normalize = spec.normalize
        self.reduction = spec.reduction
        self.projector = make_projector(spec.projector, context.student_dim, context.teacher_dim)

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`feature`: the squared distance."""
        assert views.teacher is not None
        student_BD, teacher_BD = self.projector(views.student.features), views.teacher.features
        if self.normalize:
            student_BD, teacher_BD = l2_normalize(student_BD), l2_normalize(teacher_BD)
        return {"feature": squared_error(student_BD, teacher_BD, reduction=self.reduction)}
