"""Logit distillation with normalised wrong classes."""

from __future__ import annotations

from typing import ClassVar, Literal

from fdkd_core.spec.methods.base import DistillingSpec, Temperature, Weight


class NKDSpec(DistillingSpec):
    """NKD (Yang et al., ICCV 2023): the label as far as the teacher believes in it, and the other classes.

    The others are normalised among themselves, so that student and teacher can agree on them. With two
    classes only the first part says anything.
    """

    needs_features: ClassVar[bool] = False

    name: Literal["nkd"] = "nkd"
    target_weight: Weight = 1.0
    """Factor of -p_t(y) log p_s(y); 1 in the paper."""
    non_target_weight: Weight = 1.5
    """Factor of the wrong classes' cross-entropy; 1.5 in the paper, gamma."""
    temperature: Temperature = 1.0
    """Of the wrong classes' softmax; 1 in the paper's ImageNet runs. T^2 multiplies its weight."""
