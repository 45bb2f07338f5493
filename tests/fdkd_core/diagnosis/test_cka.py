from __future__ import annotations

import numpy as np
import pytest

from fdkd_core.diagnosis.cka import LinearCKA


def hsic(k: np.ndarray, m: np.ndarray) -> float:
    centre = np.eye(len(k)) - 1 / len(k)
    return float(np.trace(centre @ k @ centre @ m))


def test_is_the_ratio_of_hsic() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)) + 3, rng.normal(size=(20, 7))
    k, m = x @ x.T, y @ y.T
    expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    assert LinearCKA(x).value(y) == pytest.approx(expected)


def test_does_not_depend_on_rotation_order_scale_or_offset() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 6)), rng.normal(size=(30, 5))
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    value = LinearCKA(x).value(y)
    assert LinearCKA(x).value(3.0 * y @ rotation + 7.0) == pytest.approx(value)
    assert LinearCKA(x[:, ::-1]).value(y) == pytest.approx(value)
    assert LinearCKA(y).value(x) == pytest.approx(value)


def test_is_one_for_the_same_and_zero_for_what_does_not_vary() -> None:
    x = np.random.default_rng(2).normal(size=(30, 6))
    assert LinearCKA(x).value(-2.0 * x) == pytest.approx(1.0)
    assert LinearCKA(x).value(np.ones((30, 3))) == 0.0
