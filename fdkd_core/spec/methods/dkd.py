"""Decoupled logit distillation."""

from __future__ import annotations

from typing import Literal

from fdkd_core.spec.methods.base import DistillingSpec, Temperature, Weight, WeightScheduleSpec


class DKDSpec(DistillingSpec):
    """DKD (Zhao et al., CVPR 2022): logit distillation, the right class and the others apart.

    TCKD is what the teacher says of the right class, NCKD of the others among themselves; in the plain KL
    divergence NCKD all but vanishes where the teacher is sure.
    """

    name: Literal["dkd"] = "dkd"
    target_weight: Weight = 1.0
    """Factor of TCKD; 1 in the paper, alpha."""
    non_target_weight: Weight = 8.0
    """Factor of NCKD; 8 in the paper, beta, tuned there for the 100 classes of CIFAR. With few classes there
    is less to say about the wrong ones, with two nothing: then NCKD is 0. Tune it."""
    temperature: Temperature = 4.0
    """Softens both distributions; 4 in the paper. T^2 multiplies the weights."""
    weight_schedule: WeightScheduleSpec = WeightScheduleSpec(warmup_frac=0.08)
    """The paper raises the weights over the first 20 of 240 epochs; here over the same share of the steps."""
