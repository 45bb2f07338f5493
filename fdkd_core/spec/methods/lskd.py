"""Logit distillation with standardised logits."""

from __future__ import annotations

from typing import ClassVar, Literal

from fdkd_core.spec.methods.base import DistillingSpec, Temperature, Weight


class LSKDSpec(DistillingSpec):
    """LSKD (Sun et al., CVPR 2024): logit distillation after each sample's logits were standardised.

    So the student need not reach the teacher's range. It needs 3 classes or more: two standardised logits are
    1 and -1, whatever the network says.
    """

    needs_features: ClassVar[bool] = False

    name: Literal["lskd"] = "lskd"
    weight: Weight = 1.0
    """Factor of T^2 * KL. 9 in the paper, ten times logit distillation's 0.9; at the default learning rate
    it was 4 points worse on validation than 1, and 3 no better (docs/decisions/0008). The division by the
    deviation raises the gradient while logits are small: tune it together with the learning rate."""
    temperature: Temperature = 2.0
    """Base temperature: the softmax is of z / (T * deviation). 2 in the paper. T^2 multiplies the weight."""
