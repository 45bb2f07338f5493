"""What the specs of all distillation methods have in common."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fdkd_core.spec.strict import StrictModel

Weight = Annotated[float, Field(ge=0.0, le=1e6)]
Temperature = Annotated[float, Field(gt=0.0, le=100.0)]
Projector = Literal["auto", "linear"]


class WeightScheduleSpec(StrictModel):
    """How the weights of the distillation terms change over training; the task loss keeps factor 1."""

    warmup_frac: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of all steps over which the weights rise linearly from 0. None, as most methods; DKD warms up."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """How they fall from the end of the warm-up to the last step. Letting go of the teacher late in
    training helps where it is weaker than the student can become."""
    end_factor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of the weight that is left at the last step, where there is a decay."""


class DistillingSpec(StrictModel):
    """Base of every method that has a teacher."""

    needs_features: ClassVar[bool] = True
    """Whether the teacher must give features: false where its logits are all that is looked at. An ONNX file
    need not give any. Of a combination, its parts decide."""
    compares_channels: ClassVar[bool] = True
    """Whether features are compared channel by channel: false where only relations among samples are."""
    weight_schedule: WeightScheduleSpec = WeightScheduleSpec()
    """Constant weights by default, as every method is published."""
    balance: Literal["none", "gradient_norm"] = "none"
    """`gradient_norm`: each weight becomes a ratio, of the norm of the term's gradient at the student's
    feature to that of the task loss, averaged over the last steps (after GradNorm, Chen et al. 2018, without
    its learnt rates). Then one weight means the same for every teacher. Off: weights are as stated."""

    @property
    def needs_teacher_inputs(self) -> bool:
        """Whether the teacher's inputs are needed, because it is trained further: as of the `Method`."""
        return False

    @property
    def knows_channel_order(self) -> bool:
        """Whether the teacher's channels in another order are another teacher to the method."""
        return self.needs_features and self.compares_channels
