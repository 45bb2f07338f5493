"""The one list of distillation methods that stand alone: what a job may name, and what may be combined."""

from __future__ import annotations

from fdkd_core.spec.methods.c2kd import C2KDSpec
from fdkd_core.spec.methods.cirkd import CIRKDSpec
from fdkd_core.spec.methods.crd import CRDSpec
from fdkd_core.spec.methods.dist import DISTSpec
from fdkd_core.spec.methods.dkd import DKDSpec
from fdkd_core.spec.methods.fd_cmkd import FDCMKDSpec
from fdkd_core.spec.methods.feature_mse import FeatureMSESpec
from fdkd_core.spec.methods.logit_kd import LogitKDSpec
from fdkd_core.spec.methods.lskd import LSKDSpec
from fdkd_core.spec.methods.nkd import NKDSpec
from fdkd_core.spec.methods.ofa_kd import OFAKDSpec
from fdkd_core.spec.methods.pkd import PKDSpec
from fdkd_core.spec.methods.rkd import RKDSpec

LeafMethodSpec = (
    LogitKDSpec
    | FeatureMSESpec
    | FDCMKDSpec
    | DISTSpec
    | DKDSpec
    | LSKDSpec
    | NKDSpec
    | OFAKDSpec
    | PKDSpec
    | RKDSpec
    | CRDSpec
    | C2KDSpec
    | CIRKDSpec
)
