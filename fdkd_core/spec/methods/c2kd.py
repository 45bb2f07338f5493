"""Customised cross-modal distillation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fdkd_core.spec.methods.base import DistillingSpec, Temperature, Weight


class C2KDSpec(DistillingSpec):
    """C2KD (Huo et al., CVPR 2024): the teacher goes on training beside the student, through proxies.

    Each has a proxy head; the proxies teach each other the wrong classes where they rank them alike, and
    their own networks all classes. It needs 3 classes or more: with 2 there is a single wrong one, and
    nothing passes between the modalities. A step costs a forward and backward pass of the teacher too. What
    is trained is a copy of the teacher, which ends with the job.
    """

    name: Literal["c2kd"] = "c2kd"
    proxy_weight: Weight = 1.0
    """Factor of the KL between each network and its proxy, both ways; 1 in the authors' code."""
    cross_weight: Weight = 1.0
    """Factor of the KL between the two proxies over the wrong classes, both ways; 1 in the authors' code."""
    teacher_weight: Weight = 1.0
    """Factor of the teacher's own task loss; 1 in the authors' code. It follows the weight schedule too."""
    min_rank_agreement: Annotated[float, Field(ge=-1.0, lt=1.0)] = 0.0
    """Kendall's tau of the two proxies' scores above which a sample counts in the cross term; 0 in the
    authors' code: ranks must agree rather than not. -1 keeps all but exact opposites."""
    temperature: Temperature = 1.0
    """Of the softmaxes that are compared, not of the teacher's own task loss; 1 in the authors' code. T^2
    multiplies the weights of both KLs."""

    @property
    def needs_teacher_inputs(self) -> bool:
        """It trains the teacher, whose outputs cannot be computed beforehand."""
        return True
