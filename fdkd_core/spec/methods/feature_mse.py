"""Regression of features."""

from __future__ import annotations

from typing import Literal

from fdkd_core.spec.methods.base import DistillingSpec, Projector, Weight


class FeatureMSESpec(DistillingSpec):
    """Regression of the pooled feature: CE + weight * ||r(F_s) - F_t||^2 (after Romero et al. 2015)."""

    name: Literal["feature_mse"] = "feature_mse"
    weight: Weight = 1.0
    """Factor of the distance. 0.3 and 3 were the same within noise on validation, 10 and 30 no better
    (docs/decisions/0008)."""
    normalize: bool = True
    """Divide each feature by its L2 norm first, so that the distance is 2 - 2 cos: then one weight
    means the same for every network."""
    reduction: Literal["sum", "mean"] = "sum"
    """Over the D channels, per sample; `sum` does not depend on the width (docs/decisions/0001). `mean`
    is the common library default, D times weaker."""
    projector: Projector = "auto"
    """`auto`: a Linear on the student side only where widths differ, since an unneeded one may hide
    what the student did not learn; `linear`: always."""
