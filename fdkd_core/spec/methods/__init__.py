"""Which distillation methods a job may name: a union tagged by `name`, built by `fdkd_core.methods`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fdkd_core.spec.methods.auto import AutoSpec, CandidateMethod
from fdkd_core.spec.methods.base import DistillingSpec, WeightScheduleSpec
from fdkd_core.spec.methods.c2kd import C2KDSpec
from fdkd_core.spec.methods.cirkd import CIRKDSpec
from fdkd_core.spec.methods.combine import FD_CMKD_WITH_LOGITS, CombinedPart, CombineSpec
from fdkd_core.spec.methods.crd import CRDSpec
from fdkd_core.spec.methods.dist import DISTSpec
from fdkd_core.spec.methods.dkd import DKDSpec
from fdkd_core.spec.methods.fd_cmkd import PAPER_ABLATION, FDCMKDSpec
from fdkd_core.spec.methods.feature_mse import FeatureMSESpec
from fdkd_core.spec.methods.leaf import LeafMethodSpec
from fdkd_core.spec.methods.logit_kd import LogitKDSpec
from fdkd_core.spec.methods.lskd import LSKDSpec
from fdkd_core.spec.methods.nkd import NKDSpec
from fdkd_core.spec.methods.none import NoneSpec
from fdkd_core.spec.methods.ofa_kd import OFAKDSpec
from fdkd_core.spec.methods.parts import fd_cmkd_of, parts_of, uses_features
from fdkd_core.spec.methods.pkd import PKDSpec
from fdkd_core.spec.methods.rkd import RKDSpec

MethodSpec = Annotated[NoneSpec | LeafMethodSpec | CombineSpec, Field(discriminator="name")]
MethodChoice = Annotated[NoneSpec | LeafMethodSpec | CombineSpec | AutoSpec, Field(discriminator="name")]
"""A method, or the wish to find out which."""

__all__ = [
    "FD_CMKD_WITH_LOGITS",
    "PAPER_ABLATION",
    "AutoSpec",
    "C2KDSpec",
    "CIRKDSpec",
    "CRDSpec",
    "CandidateMethod",
    "CombineSpec",
    "CombinedPart",
    "DISTSpec",
    "DKDSpec",
    "DistillingSpec",
    "FDCMKDSpec",
    "FeatureMSESpec",
    "LSKDSpec",
    "LeafMethodSpec",
    "LogitKDSpec",
    "MethodChoice",
    "MethodSpec",
    "NKDSpec",
    "NoneSpec",
    "OFAKDSpec",
    "PKDSpec",
    "RKDSpec",
    "WeightScheduleSpec",
    "fd_cmkd_of",
    "parts_of",
    "uses_features",
]
