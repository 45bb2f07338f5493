"""Distillation of exits in logit space."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fdkd_core.spec.methods.base import DistillingSpec, Temperature, Weight


class OFAKDSpec(DistillingSpec):
    """OFA-KD (Hao et al., NeurIPS 2023): an exit on the student's feature learns the teacher's predictions.

    So features are compared in logit space, where no architecture shows. The paper has an exit behind each of
    four stages. A network here shows its pooled feature alone, that of the last stage: one exit is left.
    """

    needs_features: ClassVar[bool] = False

    name: Literal["ofa_kd"] = "ofa_kd"
    exit_weight: Weight = 1.0
    """Factor of the exit's loss; 1 in the authors' code."""
    logit_weight: Weight = 1.0
    """Factor of what the teacher adds to the loss of the student's own classifier; 1 in the authors' code."""
    gamma: Annotated[float, Field(ge=0.0, le=10.0)] = 1.0
    """Exponent of 1 + p_t(y), which strengthens the right class where the teacher is sure. 1, the authors'
    default and CIFAR setting, strengthens nothing; they take 1.5 on ImageNet."""
    temperature: Temperature = 1.0
    """Of both softmaxes; 1 in the authors' code."""
