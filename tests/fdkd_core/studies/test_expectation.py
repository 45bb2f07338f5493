"""What another training will come to, told with its seeds and its test rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from study_samples import metrics

from fdkd_core.spec.result import FinalRun
from fdkd_core.studies.expectation import expected_test
from fdkd_core.studies.row_blocks import RowGroups, row_blocks


def runs(*accuracies: float) -> list[FinalRun]:
    return [
        FinalRun(seed=n, val=metrics(0.5), test=metrics(a), seconds=1.0, epochs=1, best_epoch=1)
        for n, a in enumerate(accuracies, start=1)
    ]


def test_seeds_and_rows_by_hand() -> None:
    """Two seeds with 3 and 4 of four rows: 7/8. Seeds: error 1/8, one degree of freedom. Rows add 1, 1, 1
    and 1/2: sqrt(4/3 * 3/16) / 4 = 1/8, three degrees of freedom."""
    rows = row_blocks(np.array([[1.0, 1, 1, 0], [1.0, 1, 1, 1]]), np.zeros(4), None)
    found, over = expected_test(runs(0.75, 1.0), "accuracy", rows)
    assert over == "seeds and test rows"
    assert found.mean == 0.875
    half = math.hypot(stats.t.ppf(0.975, 1) / 8, stats.t.ppf(0.975, 3) / 8)
    assert (found.high - found.mean, found.mean - found.low) == pytest.approx((half, half))


def test_two_speakers_by_hand() -> None:
    """All rows of one are right, none of the other: deviations sum to 1 and -1, sqrt(2 * 2) / 4 = 1/2."""
    rows = row_blocks(np.array([[1.0, 1, 0, 0]] * 2), np.zeros(4), RowGroups(np.array([0, 0, 1, 1]), "group"))
    found, over = expected_test(runs(0.5, 0.5), "accuracy", rows)
    assert over == "seeds and the 2 groups of the test split"
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 1) / 2)


def test_what_is_not_known_is_not_claimed() -> None:
    one_speaker = row_blocks(np.eye(4)[:2], np.zeros(4), RowGroups(np.zeros(4, np.int64), "group"))
    for rows in (None, one_speaker):
        found, over = expected_test(runs(0.75, 1.0), "accuracy", rows)
        assert over == "seeds"
        assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 1) / 8)
    found, over = expected_test(runs(0.75), "accuracy", one_speaker)
    assert (found.low, found.mean, found.high, over) == (0.75, 0.75, 0.75, "seeds")
