"""The table of distillation methods: to add one, add a spec class, a file, a line here and a test file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fdkd_core.methods.balance import GradientBalance
from fdkd_core.methods.base import Method, MethodContext
from fdkd_core.methods.c2kd import C2KD
from fdkd_core.methods.cirkd import CIRKD
from fdkd_core.methods.combine import Combine
from fdkd_core.methods.crd import CRD
from fdkd_core.methods.dist import DIST
from fdkd_core.methods.dkd import DKD
from fdkd_core.methods.fd_cmkd import FDCMKD
from fdkd_core.methods.feature_mse import FeatureMSE
from fdkd_core.methods.logit_kd import LogitKD
from fdkd_core.methods.lskd import LSKD
from fdkd_core.methods.nkd import NKD
from fdkd_core.methods.none import NoDistillation
from fdkd_core.methods.ofa_kd import OFAKD
from fdkd_core.methods.per_pixel import PerPixel
from fdkd_core.methods.pkd import PKD
from fdkd_core.methods.rkd import RKD
from fdkd_core.spec import (
    C2KDSpec,
    CIRKDSpec,
    CombineSpec,
    CRDSpec,
    DistillingSpec,
    DISTSpec,
    DKDSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    LSKDSpec,
    MethodSpec,
    NKDSpec,
    NoneSpec,
    OFAKDSpec,
    PKDSpec,
    RKDSpec,
)


def _combine(spec: CombineSpec, context: MethodContext) -> Method:
    return Combine(spec, context, build_method)


METHODS: dict[type, Callable[..., Method]] = {
    NoneSpec: NoDistillation,
    LogitKDSpec: LogitKD,
    FeatureMSESpec: FeatureMSE,
    FDCMKDSpec: FDCMKD,
    CombineSpec: _combine,
    DISTSpec: DIST,
    DKDSpec: DKD,
    LSKDSpec: LSKD,
    NKDSpec: NKD,
    OFAKDSpec: OFAKD,
    PKDSpec: PKD,
    RKDSpec: RKD,
    CRDSpec: CRD,
    C2KDSpec: C2KD,
    CIRKDSpec: CIRKD,
}

PER_PIXEL = (LogitKDSpec, FeatureMSESpec, FDCMKDSpec, PKDSpec)
"""Those that a segmentation applies to every place of the maps."""


def build_method(spec: MethodSpec, context: MethodContext) -> Method:
    """Builds the method that a spec names.

    Args:
        spec: One of the union `MethodSpec`.
        context: What it is built for.

    Raises:
        ValueError: The method cannot work on features of these widths, or on so few classes.
    """
    builder: Any = METHODS[type(spec)]
    by_pixel = context.task.kind == "segmentation" and isinstance(spec, PER_PIXEL)
    if by_pixel and isinstance(spec, FDCMKDSpec):
        # As the paper does for segmentation, and as the spec says of these fields.
        spec = spec.model_copy(update={"shared_classifier": False, "band_heads": False})
    method: Method = builder(spec, context)
    if by_pixel:
        method = PerPixel(method)
    if isinstance(spec, DistillingSpec):
        method.weight_schedule = spec.weight_schedule
        if spec.balance == "gradient_norm":
            method.balance = GradientBalance(list(method.weights))
    return method
