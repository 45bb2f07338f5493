"""What each table of the accuracy benchmark compares, as methods with everything at its default."""

from __future__ import annotations

from dataclasses import dataclass

from fdkd_core.spec import (
    FD_CMKD_WITH_LOGITS,
    PAPER_ABLATION,
    C2KDSpec,
    CRDSpec,
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
from fdkd_core.spec.study import TeacherView

CONTROL = "none"


@dataclass(frozen=True)
class Arm:
    """One method, tuned and repeated like all others."""

    method: MethodSpec
    view: TeacherView = "paired"


METHODS: dict[str, Arm] = {
    CONTROL: Arm(NoneSpec()),
    "logit_kd": Arm(LogitKDSpec()),
    "dist": Arm(DISTSpec()),
    "dkd": Arm(DKDSpec()),
    "lskd": Arm(LSKDSpec()),
    "nkd": Arm(NKDSpec()),
    "ofa_kd": Arm(OFAKDSpec()),
    "c2kd": Arm(C2KDSpec()),
    "feature_mse": Arm(FeatureMSESpec()),
    "pkd": Arm(PKDSpec()),
    "rkd": Arm(RKDSpec()),
    "crd": Arm(CRDSpec()),
    "fd_cmkd": Arm(FDCMKDSpec()),
    "fd_cmkd + logit_kd": Arm(FD_CMKD_WITH_LOGITS),
}
"""Table 1."""

_DEFAULT = FDCMKDSpec()
ABLATION: dict[str, Arm] = {
    **{name: Arm(spec) for name, spec in PAPER_ABLATION.items()},
    "default": Arm(_DEFAULT),
    "default, distances only": Arm(
        _DEFAULT.model_copy(update={"shared_classifier": False, "band_heads": False})
    ),
    "default, classifiers only": Arm(_DEFAULT.model_copy(update={"low_weight": 0.0, "high_weight": 0.0})),
    "default, without band heads": Arm(_DEFAULT.model_copy(update={"band_heads": False})),
}
"""Table 2: the rows of the paper's ablation, then what the parts of the default give."""

CONTROLS: dict[str, Arm] = {
    "fd_cmkd shuffled_pairs": Arm(_DEFAULT, "shuffled_pairs"),
    "fd_cmkd permuted_channels": Arm(_DEFAULT, "permuted_channels"),
    "fd_cmkd untrained_teacher": Arm(_DEFAULT, "untrained_teacher"),
}
"""Table 3: the same method with a teacher that knows less than it seems."""

_FEW = (CONTROL, "logit_kd", "dist", "feature_mse", "pkd", "c2kd", "fd_cmkd", "fd_cmkd + logit_kd")
FEW_LABELS: dict[str, Arm] = {name: METHODS[name] for name in _FEW}
"""Table 4: data of which most pairs have no label."""

_ASKED = (CONTROL, "feature_mse", "pkd", "fd_cmkd")
SPLITS: dict[str, Arm] = {name: METHODS[name] for name in _ASKED}
"""Table 5: what FD-CMKD is asked to beat, on several divisions of the same subjects."""

LONG: dict[str, Arm] = {**METHODS, "fd_cmkd balanced": Arm(FDCMKDSpec(balance="gradient_norm"))}
"""Table 6: three times the epochs of Table 1, and what was a candidate for the default (docs/decisions/0037)."""

CALM = FDCMKDSpec(high_weight=0.3, align_weight=0.4, band_head_weight=0.5)
"""What was a candidate for the default (docs/decisions/0038)."""
AGAIN: dict[str, Arm] = {**SPLITS, "fd_cmkd calm": Arm(CALM)}
"""Table 7: the same directions as Table 1, with trials chosen as in Table 6."""

MORE_SEEDS: dict[str, Arm] = SPLITS
"""Table 8: as Table 7, with four times as many seeds."""

AS_WIDE: dict[str, Arm] = SPLITS
"""Table 9: as Table 7, the students as wide as their teachers."""

AS_WIDE_LONG: dict[str, Arm] = SPLITS
"""Table 10: as Table 9, the students trained for three times as long."""

TABLES: dict[str, dict[str, Arm]] = {
    "methods": METHODS, "ablation": ABLATION, "controls": CONTROLS, "few-labels": FEW_LABELS,
    "splits": SPLITS, "long": LONG, "again": AGAIN, "more-seeds": MORE_SEEDS,
    "as-wide": AS_WIDE, "as-wide-long": AS_WIDE_LONG,
}  # fmt: skip
