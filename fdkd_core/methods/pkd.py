"""Correlation of features."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.correlation import channel_distance
from fdkd_core.methods.base import Method, MethodContext, StepViews, make_projector
from fdkd_core.spec import PKDSpec


class PKD(Method):
    """CE + w * mean_d (1 - rho_d), rho_d the correlation over the batch of channel d of the pooled feature.

    References:
        Cao et al., "PKD", NeurIPS 2022, there on the feature maps of a detector; see `channel_distance`.
    """

    def __init__(self, spec: PKDSpec, context: MethodContext) -> None:
        super().__init__()
        self.weights = {"feature": spec.weight}
        self.projector = make_projector(spec.projector, context.student_dim, context.teacher_dim)

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`feature`: half the squared distance of standardised channels; 0 for a single row."""
        assert views.teacher is not None
        return {"feature": channel_distance(self.projector(views.student.features), views.teacher.features)}
