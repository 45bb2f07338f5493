"""Correlation of features."""

from __future__ import annotations

from typing import Literal

from fdkd_core.spec.methods.base import DistillingSpec, Projector, Weight


class PKDSpec(DistillingSpec):
    """PKD (Cao et al., NeurIPS 2022): regression of features that are standardised over the batch.

    By channel of the pooled feature it is 1 - Pearson's correlation. Batches must have at least 2 rows.
    """

    name: Literal["pkd"] = "pkd"
    weight: Weight = 6.0
    """Factor of the distance. The paper takes 6 to 10 in detection; the least of it, since a larger weight
    raises the step."""
    projector: Projector = "auto"
    """`auto`: a Linear on the student side only where widths differ; `linear`: always, so that the student
    may arrange its channels in its own order."""
