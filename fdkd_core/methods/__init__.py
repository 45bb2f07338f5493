"""The table of distillation methods: to add one, add a spec class, a file, a line here and a test file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fdkd_core.methods.balance import GradientBalance
from fdkd_core.methods.base import Method, MethodContext
from fdkd_core.methods.combine import Combine
from fdkd_core.methods.fd_cmkd import FDCMKD
from fdkd_core.methods.feature_mse import FeatureMSE
from fdkd_core.methods.logit_kd import LogitKD
from fdkd_core.methods.none import NoDistillation
from fdkd_core.spec import (
    CombineSpec,
    DistillingSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    MethodSpec,
    NoneSpec,
)


def _combine(spec: CombineSpec, context: MethodContext) -> Method:
    return Combine(spec, context, build_method)


METHODS: dict[type, Callable[..., Method]] = {
    NoneSpec: NoDistillation,
    LogitKDSpec: LogitKD,
    FeatureMSESpec: FeatureMSE,
    FDCMKDSpec: FDCMKD,
    CombineSpec: _combine,
}


def build_method(spec: MethodSpec, context: MethodContext) -> Method:
    """Builds the method that a spec names.

    Args:
        spec: One of the union `MethodSpec`.
        context: What it is built for.

    Raises:
        ValueError: The method cannot work on features of these widths.
    """
    builder: Any = METHODS[type(spec)]
    method: Method = builder(spec, context)
    if isinstance(spec, DistillingSpec):
        method.weight_schedule = spec.weight_schedule
        if spec.balance == "gradient_norm":
            method.balance = GradientBalance(list(method.weights))
    return method
