from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from fdkd_core.losses.ranks import kendall_tau


@pytest.mark.parametrize("classes", [2, 3, 8, 30])
def test_equals_scipy(classes: int) -> None:
    rng = np.random.default_rng(classes)
    first, second = rng.normal(size=(2, 6, classes))
    found = kendall_tau(torch.from_numpy(first), torch.from_numpy(second))
    expected = [kendalltau(first[i], second[i]).statistic for i in range(6)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_ties_count_as_in_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 3, size=(2, 20, 7)).astype(np.float64)
    found = kendall_tau(torch.from_numpy(first), torch.from_numpy(second))
    expected = [kendalltau(first[i], second[i]).statistic for i in range(20)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-7)


def test_by_hand() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0]] * 4)
    other = torch.tensor([[10.0, 20.0, 90.0], [3.0, 2.0, 1.0], [2.0, 1.0, 3.0], [5.0, 5.0, 5.0]])
    # Same order; opposite order; one of three pairs the other way round; no order at all.
    torch.testing.assert_close(kendall_tau(scores, other), torch.tensor([1.0, -1.0, 1 / 3, 0.0]))


def test_one_class_and_half_precision() -> None:
    assert kendall_tau(torch.zeros(2, 1), torch.ones(2, 1)).tolist() == [0.0, 0.0]
    scores = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.bfloat16)
    assert kendall_tau(scores, -scores).tolist() == [-1.0]
