"""Errors that cross from one process to another."""

from __future__ import annotations

import pickle

import pytest

from fdkd_core.errors import (
    DatasetError,
    EveryMethodFailedError,
    FDKDError,
    GateFailedError,
    Problem,
    StorageError,
    TrainingDivergedError,
    quote,
)

PROBLEM = Problem("too_few_rows", "3 rows; 8 are wanted", pointer="/dataset", row=3)


@pytest.mark.parametrize(
    "error",
    [
        FDKDError(),
        StorageError("the disk is full"),
        DatasetError([PROBLEM, Problem("invalid_label", "no label")]),
        GateFailedError([PROBLEM]),
        EveryMethodFailedError({"pkd": "diverged: became nan"}),
        TrainingDivergedError(7, "task", float("inf"), where="trial 3: "),
        TrainingDivergedError(7, "val", float("inf"), lower="teacher.train.optimizer.lr"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_being_handed_over(error: FDKDError) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)
    assert (found.code, found.exit_code) == (error.code, error.exit_code)


def test_a_divergence_says_what_was_not_finite_and_what_to_lower() -> None:
    found = TrainingDivergedError(7, "kd", float("inf"))
    assert str(found) == (
        "loss term 'kd' became inf at step 7; the optimiser step was not taken. "
        "Lower training.optimizer.lr or the method's weights."
    )
    rate = "teacher.train.optimizer.lr"
    told = TrainingDivergedError(7, "val", float("nan")).inside(
        "in the training of the teacher, ", lower=rate
    )
    assert str(told) == (
        "in the training of the teacher, the answers to validation rows were not finite after step 7. "
        "Lower teacher.train.optimizer.lr."
    )
    assert "Lower teacher.train.optimizer.lr." in str(told.inside("in trial 3, "))


@pytest.mark.parametrize(
    "text", ["vid\u00e9o", "\u97f3\u58f0", "\u0437\u0432\u0443\u043a", "\U0001f600", "a 'b'"]
)
def test_names_of_any_script_are_shown_as_they_are(text: str) -> None:
    assert text in quote(text)
    assert text in quote([text])


@pytest.mark.parametrize(
    "character",
    [
        "\n", "\x1b", "\x9b", "\x00", "\u2028", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\u00ad",
        "\u00a0", "\u3164", "\ufe0f", "\U000e0100", "\U000e0041", "\ud800", "\ue000",
    ],
)  # fmt: skip
def test_what_cannot_be_seen_is_escaped(character: str) -> None:
    class Named:
        def __repr__(self) -> str:
            return f"<{character}>"

    for shown in (quote(f"a{character}b"), quote({character: 1}), quote(Named())):
        assert character not in shown
        assert shown.isprintable()
        assert "\\" in shown
    assert len(quote(character * 500)) == 80
