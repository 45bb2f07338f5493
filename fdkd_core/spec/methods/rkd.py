"""Relations between samples."""

from __future__ import annotations

from typing import ClassVar, Literal

from fdkd_core.spec.methods.base import DistillingSpec, Weight


class RKDSpec(DistillingSpec):
    """RKD (Park et al., CVPR 2019): the samples of a batch lie to each other as they do for the teacher.

    Distances of two and angles of three pooled features are compared, so that widths may differ without a
    projector. Batches must have at least 3 rows.
    """

    name: Literal["rkd"] = "rkd"
    compares_channels: ClassVar[bool] = False
    distance_weight: Weight = 1.0
    """Factor of the distances. 25 in the paper, with 50 for the angles; at the default learning rate those
    lost 9 points on validation on the one direction where they were tried (docs/decisions/0008)."""
    angle_weight: Weight = 2.0
    """Factor of the angles; twice the other, as in the paper: angles differ by less. Their time grows with
    the third power of the batch; memory does not, as they are computed in groups."""
