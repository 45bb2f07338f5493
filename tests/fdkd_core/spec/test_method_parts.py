from __future__ import annotations

import pytest

from fdkd_core.spec import (
    FD_CMKD_WITH_LOGITS,
    CombinedPart,
    CombineSpec,
    DISTSpec,
    FDCMKDSpec,
    LogitKDSpec,
    MethodSpec,
    NoneSpec,
    PKDSpec,
)
from fdkd_core.spec.methods import fd_cmkd_of, parts_of, uses_features

WHOLE, NARROW = FDCMKDSpec(split=False), FDCMKDSpec(basis="class", cutoff=0.2)


def combined(*methods: LogitKDSpec | DISTSpec | FDCMKDSpec | PKDSpec) -> CombineSpec:
    return CombineSpec(parts=tuple(CombinedPart(method=method) for method in methods))


def test_the_parts_of_a_method() -> None:
    assert parts_of(NoneSpec()) == [NoneSpec()]
    assert parts_of(combined(NARROW, PKDSpec())) == [NARROW, PKDSpec()]


@pytest.mark.parametrize(
    ("method", "found"),
    [
        (NARROW, NARROW),
        (LogitKDSpec(), None),
        (NoneSpec(), None),
        (combined(PKDSpec(), NARROW), NARROW),
        (combined(WHOLE, NARROW, FDCMKDSpec()), NARROW),
        (combined(WHOLE, LogitKDSpec()), WHOLE),
        (combined(LogitKDSpec(), DISTSpec()), None),
    ],
)
def test_the_bands_of_a_method_are_those_of_its_fd_cmkd(method: MethodSpec, found: FDCMKDSpec | None) -> None:
    assert fd_cmkd_of(method) == found


def test_a_combination_uses_features_where_a_part_does() -> None:
    assert not any(uses_features(method) for method in (NoneSpec(), combined(LogitKDSpec(), DISTSpec())))
    assert all(uses_features(method) for method in (PKDSpec(), FD_CMKD_WITH_LOGITS))
