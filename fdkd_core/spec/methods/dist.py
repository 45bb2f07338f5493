"""Correlation of predictions."""

from __future__ import annotations

from typing import ClassVar, Literal

from fdkd_core.spec.methods.base import DistillingSpec, Temperature, Weight


class DISTSpec(DistillingSpec):
    """DIST (Huang et al., NeurIPS 2022): correlation of class probabilities, by sample and by class.

    The student may differ from the teacher in level and size.
    """

    needs_features: ClassVar[bool] = False

    name: Literal["dist"] = "dist"
    inter_weight: Weight = 2.0
    """Factor of 1 - correlation of a sample's probabilities with the teacher's; 2 in the paper, beta. With
    two classes this part is a step and has no gradient."""
    intra_weight: Weight = 2.0
    """Factor of 1 - correlation of a class's probabilities over the batch; 2 in the paper, gamma. It needs
    batches of at least 2 rows, and is estimated the better the larger they are."""
    temperature: Temperature = 1.0
    """Of both softmaxes; 1 in the paper: correlation already ignores size. T^2 multiplies the weights."""
