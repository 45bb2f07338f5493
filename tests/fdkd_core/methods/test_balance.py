"""Weights as ratios of gradient norms, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fdkd_core.methods.balance import GradientBalance


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


def factors(task_norms: list[float]) -> list[float]:
    """Of a term whose gradient has norm 1, step by step."""
    features = torch.ones(1, 1, requires_grad=True)
    balance = GradientBalance(["term"])
    return [
        balance.factors(features.sum() * norm, {"term": features.sum()}, features)["term"]
        for norm in task_norms
    ]


def test_norms_are_averaged_over_steps() -> None:
    # 0.9 of what was, 0.1 of what is, of the weight that there is: (0.09 * 3 + 0.1 * 1) / (0.09 + 0.1).
    assert factors([3.0, 1.0]) == pytest.approx([3.0, 0.37 / 0.19])


def test_terms_follow_the_task_down_and_not_up() -> None:
    found = factors([2.0, *[1.0] * 60, *[1000.0] * 60])
    assert found[60] == pytest.approx(1.0, abs=0.01)
    assert found[61:] == [found[60]] * 60


@pytest.mark.parametrize("lost", [0.0, math.inf, math.nan])
def test_a_step_without_a_measurable_task_changes_nothing(lost: float) -> None:
    plain = factors([3.0, 1.0, 2.0, 0.5])
    found = factors([3.0, 1.0, lost, 2.0, 0.5])
    assert [*found[:2], *found[3:]] == plain
    assert found[2] == plain[1]


@pytest.mark.parametrize("lost", [0.0, math.inf])
def test_terms_stand_as_stated_until_something_was_measured(lost: float) -> None:
    assert factors([lost, lost, 3.0, 1.0]) == [1.0, 1.0, *factors([3.0, 1.0])]


def test_an_infinite_norm_of_a_term_does_not_stay() -> None:
    features = torch.ones(1, 1, requires_grad=True)
    balance = GradientBalance(["term"])
    found = [
        balance.factors(features.sum() * 2.0, {"term": features.sum() * norm}, features)["term"]
        for norm in (1.0, math.inf, 1.0)
    ]
    assert found == pytest.approx([2.0, 2.0, 2.0])
    assert balance.norms.isfinite().all()


def test_a_checkpoint_from_before_the_bound_goes_on() -> None:
    features = torch.ones(1, 1, requires_grad=True)
    balance = GradientBalance(["term"])
    whole = nn.Sequential(balance)
    whole.load_state_dict({"0.norms": torch.tensor([6.0, 2.0])})
    found = balance.factors(features.sum() * 6.0, {"term": features.sum() * 2.0}, features)
    assert found == pytest.approx({"term": 3.0})
