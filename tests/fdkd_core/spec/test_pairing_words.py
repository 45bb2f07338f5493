from __future__ import annotations

from typing import Any

import pytest

from fdkd_core.spec.result import TaughtRows

OF = "of 96 training rows"
MEANS = "; the means of each class taught all rows of it"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"paired_rows": 96}, f"96 {OF} have a view of the teacher"),
        (
            {"paired_rows": 1},
            f"1 {OF} has a view of the teacher; from the others the student learnt the labels alone",
        ),
        ({"paired_rows": 96, "teacher": "teacher2"}, f"96 {OF} have a view of teacher 2"),
        ({"paired_rows": 40, "pairing": "class"}, f"40 {OF} have a view of the teacher{MEANS}"),
        (
            {"paired_rows": 40, "pairing": "class", "untaught_rows": 26},
            f"40 {OF} have a view of the teacher{MEANS}, but 26 are of a class without one, from which the "
            "student learnt the label alone",
        ),
        (
            {"paired_rows": 96, "pairing": "class", "unlabelled_rows": 50, "untaught_rows": 0},
            f"96 {OF} have a view of the teacher, and 50 no label but its answer{MEANS}",
        ),
    ],
)  # fmt: skip
def test_how_rows_were_paired_in_words(fields: dict[str, Any], sentence: str) -> None:
    document = {"teacher": "teacher", "pairing": "instance", "training_rows": 96, **fields}
    assert TaughtRows.model_validate(document).sentence == sentence
