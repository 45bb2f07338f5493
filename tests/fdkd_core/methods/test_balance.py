"""Weights as ratios of gradient norms: the ratio, and which methods have it without being asked."""

from __future__ import annotations

import pytest
import torch

from fdkd_core.methods.balance import GradientBalance
from fdkd_core.spec import (
    FD_CMKD_WITH_LOGITS,
    PAPER_ABLATION,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    MethodSpec,
    PKDSpec,
)


def test_the_factor_is_the_ratio_of_the_norms() -> None:
    features = torch.tensor([[3.0, 4.0]], requires_grad=True)
    balance = GradientBalance(["far", "near", "none"])
    means = {
        "far": (features * torch.tensor([6.0, 8.0])).sum(),  # gradient (6, 8), norm 10
        "near": features.square().sum() / 2,  # gradient (3, 4), norm 5
        "none": torch.tensor(1.0),
    }
    task = features.sum() * 20 / 2**0.5  # norm 20
    assert balance.factors(task, means, features) == pytest.approx({"far": 2.0, "near": 4.0, "none": 1.0})


def test_norms_are_averaged_over_steps() -> None:
    features = torch.ones(1, 1, requires_grad=True)
    balance = GradientBalance(["term"])
    factors = [
        balance.factors(features.sum() * task, {"term": features.sum()}, features)["term"]
        for task in (1.0, 3.0)
    ]
    # 0.9 of what was, 0.1 of what is: (0.09 * 1 + 0.1 * 3) / (0.09 + 0.1).
    assert factors == pytest.approx([1.0, 0.39 / 0.19])


@pytest.mark.parametrize(
    ("method", "is_balanced"),
    [
        (FDCMKDSpec(), True),
        (FDCMKDSpec(band_heads=False), True),
        (FDCMKDSpec(shared_classifier=False, band_heads=False), False),
        (FDCMKDSpec(shared_classifier=False, band_heads=False, balance="gradient_norm"), True),
        (FDCMKDSpec(balance="none"), False),
        (LogitKDSpec(), False),
        (FeatureMSESpec(), False),
        (PKDSpec(balance="gradient_norm"), True),
        (FD_CMKD_WITH_LOGITS, False),
        *((method, False) for method in PAPER_ABLATION.values()),
    ],
)
def test_what_is_balanced_without_being_asked(method: MethodSpec, is_balanced: bool) -> None:
    assert method.is_balanced is is_balanced
