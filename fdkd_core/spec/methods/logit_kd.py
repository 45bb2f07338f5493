"""Logit distillation."""

from __future__ import annotations

from typing import ClassVar, Literal

from fdkd_core.spec.methods.base import DistillingSpec, Temperature, Weight


class LogitKDSpec(DistillingSpec):
    """Logit distillation (Hinton, Vinyals and Dean 2015): L_task + weight * T^2 * KL(teacher || student).

    Where classes do not exclude each other, the sum over classes of the binary KL (Yang et al. 2023); of
    numbers, half the mean squared difference of the standardised answers (Ba and Caruana 2014); of
    embeddings, 2 - 2 cos.
    """

    needs_features: ClassVar[bool] = False
    name: Literal["logit_kd"] = "logit_kd"
    weight: Weight = 1.0
    """Factor of the KL term; the task loss keeps factor 1. At the default learning rate 1 was 11 points
    better on validation than 4, which raises the step too much (docs/decisions/0008)."""
    temperature: Temperature = 4.0
    """Softens both distributions; 4 is the common setting of the literature. T^2 multiplies the weight,
    so that the two are tuned together. Numbers and embeddings have no distribution, and this changes nothing
    for them."""
