from __future__ import annotations

import pytest

from fdkd_core.spec import ConstantSpec, CosineSpec, PolySpec
from fdkd_core.training.schedule import learning_rate


def test_poly_is_the_authors_curve() -> None:
    found = [learning_rate(PolySpec(min_lr_frac=0.0), 0.01, step, 100) for step in range(100)]
    assert found[0] == 0.01
    assert found[50] == pytest.approx(0.01 * 0.5**0.9)
    assert found[99] == pytest.approx(0.01 * 0.01**0.9)


def test_poly_ends_at_its_floor_as_its_spec_says() -> None:
    values = [learning_rate(PolySpec(min_lr_frac=0.2), 2.0, step, 100) for step in (25, 50)]
    assert values == pytest.approx([2.0 * (0.2 + 0.8 * left**0.9) for left in (0.75, 0.5)])


def test_floors_are_kept() -> None:
    for schedule in (PolySpec(min_lr_frac=0.1), CosineSpec(min_lr_frac=0.1)):
        values = [learning_rate(schedule, 2.0, step, 1000) for step in range(1000)]
        assert values == sorted(values, reverse=True)
        assert values[0] == 2.0
        assert 0.2 <= values[-1] < 0.21


def test_cosine_is_half_at_half_time() -> None:
    assert learning_rate(CosineSpec(), 1.0, 50, 100) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "schedule", [PolySpec(warmup_frac=0.1), CosineSpec(warmup_frac=0.1), ConstantSpec(warmup_frac=0.1)]
)
def test_warmup_rises_linearly_to_the_peak(schedule: PolySpec | CosineSpec | ConstantSpec) -> None:
    values = [learning_rate(schedule, 1.0, step, 100) for step in range(12)]
    assert values[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert values[10] == 1.0


def test_constant_is_constant() -> None:
    assert {learning_rate(ConstantSpec(), 0.3, step, 10) for step in range(10)} == {0.3}
