"""Relations between samples."""

from __future__ import annotations

from typing import Literal

from fdkd_core.spec.methods.base import DistillingSpec, Weight


class RKDSpec(DistillingSpec):
    """RKD (Park et al., CVPR 2019): the samples of a batch lie to each other as they do for the teacher.

    Distances of two and angles of three pooled features are compared, so that widths may differ without a
    projector. Batches must have at least 3 rows.
    """

    name: Literal["rkd"] = "rkd"
    distance_weight: Weight = 25.0
    """Factor of the distances; 25 in the paper's classification runs."""
    angle_weight: Weight = 50.0
    """Factor of the angles; 50 there, twice the other, as angles differ by less. Their time grows with the
    third power of the batch; memory does not, as they are computed in groups."""
