"""Relations between samples."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.relations import angle_relation, distance_relation
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.spec import RKDSpec


class RKD(Method):
    """CE + distance_weight * distances + angle_weight * angles between the pooled features of a batch.

    No projector is needed. The weights are 1 and 2 by default, 25 and 50 in the paper (see `RKDSpec`).

    References:
        Park et al., "Relational Knowledge Distillation", CVPR 2019, RKD-DA.
    """

    def __init__(self, spec: RKDSpec, context: MethodContext) -> None:
        super().__init__()
        self.weights = {"distance": spec.distance_weight, "angle": spec.angle_weight}

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`distance` and `angle`: each sample's share of the loss over all pairs and triples of the batch."""
        assert views.teacher is not None
        features = views.student.features, views.teacher.features
        return {"distance": distance_relation(*features), "angle": angle_relation(*features)}
