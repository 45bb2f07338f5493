"""The table of distillation methods: to add one, add a spec class, a file, a line here and a test file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fdkd_core.methods.base import Method
from fdkd_core.methods.fd_cmkd import FDCMKD
from fdkd_core.methods.feature_mse import FeatureMSE
from fdkd_core.methods.logit_kd import LogitKD
from fdkd_core.methods.none import NoDistillation
from fdkd_core.spec import FDCMKDSpec, FeatureMSESpec, LogitKDSpec, MethodSpec, NoneSpec

METHODS: dict[type, Callable[..., Method]] = {
    NoneSpec: NoDistillation,
    LogitKDSpec: LogitKD,
    FeatureMSESpec: FeatureMSE,
    FDCMKDSpec: FDCMKD,
}


def build_method(spec: MethodSpec, *, student_dim: int, teacher_dim: int, num_classes: int) -> Method:
    """Builds the method that a spec names.

    Args:
        spec: One of the union `MethodSpec`.
        student_dim: D of the student's feature.
        teacher_dim: D of the teacher's feature.
        num_classes: C.

    Raises:
        ValueError: The method cannot work on features of these widths.
    """
    builder: Any = METHODS[type(spec)]
    method: Method = builder(spec, student_dim=student_dim, teacher_dim=teacher_dim, num_classes=num_classes)
    return method
