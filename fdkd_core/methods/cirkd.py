"""Relations between pixels of different samples."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.pixels import averaged_to, pixel_relation_kl
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.methods.logit_kd import LogitKD
from fdkd_core.methods.per_pixel import PerPixel
from fdkd_core.spec import CIRKDSpec, LogitKDSpec


class CIRKD(Method):
    """L_task + logit_weight * KL of each pixel's classes + pixel_weight * KL of its similarities.

    Needs no projector: similarities have no width.

    References:
        Yang et al., "Cross-Image Relational Knowledge Distillation for Semantic Segmentation", CVPR 2022,
        equations 2 and 4; without the memory of equations 7 and 9 (see `CIRKDSpec`).
    """

    def __init__(self, spec: CIRKDSpec, context: MethodContext) -> None:
        super().__init__()
        self.logits = PerPixel(LogitKD(LogitKDSpec(temperature=spec.temperature), context))
        self.side = spec.side
        self.temperature = spec.similarity_temperature
        self.weights = {"logit": spec.logit_weight, "pixel": spec.pixel_weight}

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`logit` and `pixel`."""
        assert views.teacher is not None
        maps = views.student.features, views.teacher.features
        height, width = (
            min(self.side, *sides) for sides in zip(*(part.shape[2:] for part in maps), strict=True)
        )
        student, teacher = (averaged_to(part, (height, width)) for part in maps)
        pixel = pixel_relation_kl(student, teacher, temperature=self.temperature)
        return self.logits.terms(views) | {"pixel": pixel}
