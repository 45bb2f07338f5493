from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from fdkd_core.diagnosis.ridge import FoldedRidge, Ridge


def problem(seed: int, rows: int, predictors: int, targets: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, predictors)) * rng.uniform(0.1, 3.0, predictors) + 5.0
    y = x @ rng.normal(size=(predictors, targets)) + 0.5 * rng.normal(size=(rows, targets)) - 2.0
    return x, y


@pytest.mark.parametrize(("rows", "predictors"), [(40, 6), (12, 30)])
@pytest.mark.parametrize("penalty", [1e-2, 1.0, 100.0])
def test_predicts_as_scikit_learn_does(rows: int, predictors: int, penalty: float) -> None:
    x, y = problem(0, rows, predictors, 3)
    new = np.random.default_rng(1).normal(size=(5, predictors))
    expected = SklearnRidge(alpha=penalty).fit(x, y).predict(new)
    assert np.allclose(Ridge(x, new).predict(y, penalty=penalty), expected)


def test_the_penalty_is_that_of_the_least_gcv_error() -> None:
    x, y = problem(2, 30, 10, 2)
    ridge = Ridge(x, x)
    centred_x, centred_y = x - x.mean(axis=0), y - y.mean(axis=0)
    scores = []
    for penalty in ridge._penalties_L:
        hat = centred_x @ np.linalg.solve(centred_x.T @ centred_x + penalty * np.eye(10), centred_x.T)
        left_over = ((centred_y - hat @ centred_y) ** 2).sum()
        scores.append(left_over / (30 - 1 - np.trace(hat)) ** 2)
    best = float(ridge._penalties_L[int(np.argmin(scores))])
    assert np.allclose(ridge.predict(y), ridge.predict(y, penalty=best))
    assert 0 < int(np.argmin(scores)) < len(scores) - 1


def test_r2_is_what_a_loop_over_folds_gives() -> None:
    x, y = problem(3, 23, 4, 2)
    folds = np.array_split(np.random.default_rng(7).permutation(23), 5)
    error = baseline = 0.0
    for held_out in folds:
        fitted = np.setdiff1d(np.arange(23), held_out)
        found = Ridge(x[fitted], x[held_out]).predict(y[fitted])
        error += ((y[held_out] - found) ** 2).sum()
        baseline += ((y[held_out] - y[fitted].mean(axis=0)) ** 2).sum()
    assert FoldedRidge(x, np.random.default_rng(7)).r2(y) == pytest.approx(1 - error / baseline)


def test_r2_of_noise_is_about_zero_and_of_a_function_nearly_one() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, 20))
    folded = FoldedRidge(x, rng)
    assert abs(folded.r2(rng.normal(size=(300, 5)))) < 0.02
    assert folded.r2(x @ rng.normal(size=(20, 5))) > 0.99


@pytest.mark.parametrize("rows", [4, 5, 9])
def test_few_rows_constant_predictors_and_constant_targets_are_no_failure(rows: int) -> None:
    rng = np.random.default_rng(5)
    constant = np.ones((rows, 3))
    varied = rng.normal(size=(rows, 30))
    assert FoldedRidge(varied, rng).r2(constant) == 0.0
    assert np.isfinite(FoldedRidge(constant, rng).r2(varied))
    assert np.isfinite(FoldedRidge(varied, rng).r2(varied))
