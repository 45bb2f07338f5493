"""No distillation: the teacher's own training, and the control that every gain is measured against."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.spec import NoneSpec


class NoDistillation(Method):
    """Adds nothing to the task loss."""

    needs_teacher = False

    def __init__(self, spec: NoneSpec, context: MethodContext) -> None:
        super().__init__()
        self.weights = {}

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """No terms."""
        return {}
