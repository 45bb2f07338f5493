"""The factor of the distillation weights over a training, by hand.

At a quarter, half and three quarters of what follows the warm-up, a linear decay has 3/4, 1/2 and 1/4
left, a cosine (1 + cos(pi / 4)) / 2 = 0.8535534, 1/2 and (1 - cos(pi / 4)) / 2 = 0.1464466. With an end
factor e it is e + (1 - e) times that.
"""

from __future__ import annotations

from typing import Any

import pytest
from method_steps import build

from fdkd_core.methods.base import weight_factor
from fdkd_core.spec import DISTSpec
from fdkd_core.spec.methods import WeightScheduleSpec

QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
WITH_WARM_UP = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""A fifth: half of it is over at 0.1, and a quarter of the rest at 0.4."""
BY_HAND: list[tuple[dict[str, Any], tuple[float, ...], tuple[float, ...]]] = [
    ({}, QUARTERS, (1.0, 1.0, 1.0, 1.0, 1.0)),
    ({"end_factor": 0.2}, QUARTERS, (1.0, 1.0, 1.0, 1.0, 1.0)),  # of a decay that there is not
    ({"warmup_frac": 0.2}, WITH_WARM_UP, (0.0, 0.25, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0)),
    ({"decay": "linear"}, QUARTERS, (1.0, 0.75, 0.5, 0.25, 0.0)),
    ({"decay": "linear", "end_factor": 0.2}, QUARTERS, (1.0, 0.8, 0.6, 0.4, 0.2)),
    (
        {"decay": "linear", "end_factor": 0.2, "warmup_frac": 0.2},
        WITH_WARM_UP,
        (0.0, 0.25, 0.5, 1.0, 0.8, 0.6, 0.4, 0.2),
    ),
    ({"decay": "cosine"}, QUARTERS, (1.0, 0.8535534, 0.5, 0.1464466, 0.0)),
    ({"decay": "cosine", "end_factor": 0.2}, QUARTERS, (1.0, 0.8828427, 0.6, 0.3171573, 0.2)),
    (
        {"decay": "cosine", "warmup_frac": 0.2},
        WITH_WARM_UP,
        (0.0, 0.25, 0.5, 1.0, 0.8535534, 0.5, 0.1464466, 0.0),
    ),
    ({"decay": "cosine", "end_factor": 1.0}, QUARTERS, (1.0, 1.0, 1.0, 1.0, 1.0)),
]


@pytest.mark.parametrize(("schedule", "at", "expected"), BY_HAND, ids=[repr(case[0]) for case in BY_HAND])
def test_the_factor_by_hand(
    schedule: dict[str, Any], at: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    spec = WeightScheduleSpec(**schedule)
    assert [weight_factor(spec, progress) for progress in at] == pytest.approx(expected, abs=1e-7)


def test_it_multiplies_every_weight_of_the_method() -> None:
    falling = WeightScheduleSpec(decay="cosine", end_factor=0.2)
    method = build(DISTSpec(inter_weight=2.0, intra_weight=5.0, weight_schedule=falling))
    for progress, factor in zip(QUARTERS, (1.0, 0.8828427, 0.6, 0.3171573, 0.2), strict=True):
        expected = {"inter": 2.0 * factor, "intra": 5.0 * factor}
        assert method.weights_at(progress) == pytest.approx(expected, abs=1e-6)
