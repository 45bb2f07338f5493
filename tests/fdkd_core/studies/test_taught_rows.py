"""What a comparison says of the rows that its teacher spoke about."""

from __future__ import annotations

from typing import Literal

import pytest
from study_samples import compare_spec, model_result, study_result

from fdkd_core.spec.compare import arms
from fdkd_core.spec.result import TaughtRows
from fdkd_core.studies.conclusion import Outcome, conclude


@pytest.mark.parametrize(
    ("pairing", "paired", "told"),
    [
        ("instance", 96, ""),
        (
            "instance",
            48,
            "48 of 96 training rows have a view of the teacher; from the others the student learnt",
        ),
        (
            "class",
            96,
            "96 of 96 training rows have a view of the teacher; the means of each class taught all",
        ),
    ],
)
def test_it_is_said_how_rows_were_paired(
    pairing: Literal["instance", "class"], paired: int, told: str
) -> None:
    spec = compare_spec()
    rows = TaughtRows(teacher="teacher", pairing=pairing, paired_rows=paired, training_rows=96)
    outcomes: dict[str, Outcome] = {
        label: study_result(label, spec, [0.81, 0.80, 0.80]).model_copy(
            update={"taught": [] if label == "no_teacher" else [rows]}
        )
        for label in arms(spec, None)
    }
    found = conclude(
        spec, outcomes, model_result(0.9), identity={"spec": "1" * 64, "data": "2" * 64}, seconds=1.0
    ).summary
    assert [sentence for sentence in found if "training rows" in sentence] == [
        s for s in found if told and told in s
    ]
    assert any(told in sentence for sentence in found)
