"""Errors that cross from one process to another."""

from __future__ import annotations

import pickle

import pytest

from fdkd_core.errors import (
    DatasetError,
    FDKDError,
    GateFailedError,
    Problem,
    StorageError,
    TrainingDivergedError,
)

PROBLEM = Problem("too_few_rows", "3 rows; 8 are wanted", pointer="/dataset", row=3)


@pytest.mark.parametrize(
    "error",
    [
        FDKDError(),
        StorageError("the disk is full"),
        DatasetError([PROBLEM, Problem("invalid_label", "no label")]),
        GateFailedError([PROBLEM]),
        TrainingDivergedError(7, "task", float("inf"), where="trial 3: "),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_being_handed_over(error: FDKDError) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)
    assert (found.code, found.exit_code) == (error.code, error.exit_code)
