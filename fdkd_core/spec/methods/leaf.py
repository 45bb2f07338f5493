"""The one list of distillation methods that stand alone: what a job may name, and what may be combined."""

from __future__ import annotations

from fdkd_core.spec.methods.fd_cmkd import FDCMKDSpec
from fdkd_core.spec.methods.feature_mse import FeatureMSESpec
from fdkd_core.spec.methods.logit_kd import LogitKDSpec

LeafMethodSpec = LogitKDSpec | FeatureMSESpec | FDCMKDSpec
