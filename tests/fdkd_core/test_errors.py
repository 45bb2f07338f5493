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
