"""Numbers that float32 could not tell apart are refused: a student answers in their units."""

from __future__ import annotations

import numpy as np
import pytest

from fdkd_core.data.label_numbers import MAX_OFFSET, index_numbers
from fdkd_core.errors import DatasetError

SPLITS = ["train"] * 200 + ["test"] * 50
NOISE = np.random.default_rng(0).normal(size=(250, 1))


@pytest.mark.parametrize(("mean", "std"), [(1.7e9, 30.0), (1e6, 0.05), (-1e6, 1.0)])
def test_targets_far_from_zero_are_refused(mean: float, std: float) -> None:
    with pytest.raises(DatasetError) as caught:
        index_numbers(mean + std * NOISE, ["time"], SPLITS)
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer) == ("invalid_label", "label")
    assert "'time': mean" in problem.detail
    assert "subtract a constant" in problem.detail


@pytest.mark.parametrize(("mean", "std"), [(2000.0, 5.0), (1e6, 30.0), (0.0, 1e-9), (1e-20, 1e-22)])
def test_what_is_taken_can_be_answered(mean: float, std: float) -> None:
    numbers = mean + std * NOISE
    found = index_numbers(numbers, ["x"], SPLITS)
    assert found.targets is not None
    rounded = numbers.astype(np.float32).astype(np.float64)  # as an answer would be
    assert np.abs(rounded - numbers).max() <= 1e-7 * MAX_OFFSET * found.targets.std[0]
