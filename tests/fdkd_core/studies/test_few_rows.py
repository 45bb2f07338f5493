"""What a comparison, or the card of a study, says where a split has hardly any rows."""

from __future__ import annotations

import pytest
from study_samples import compare_spec, metrics, study_result

from fdkd_core.spec.measures import MEASURES
from fdkd_core.spec.result import Estimate, StudyResult
from fdkd_core.studies.conclusion import Outcome, conclude
from fdkd_core.studies.report import with_interval

LABELS = ("no_teacher", "logit_kd", "fd_cmkd", "fd_cmkd shuffled_pairs")


def summary(val_rows: int, test_rows: int) -> list[str]:
    spec = compare_spec()
    outcomes: dict[str, Outcome] = {
        label: of_rows(study_result(label, spec, [0.0, 1.0]), val_rows, test_rows) for label in LABELS
    }
    identity = {"spec": "1" * 64, "data": "2" * 64}
    return conclude(spec, outcomes, None, identity=identity, seconds=1.0).summary


def of_rows(found: StudyResult, val_rows: int, test_rows: int) -> StudyResult:
    runs = [
        run.model_copy(
            update={"val": metrics(run.val.accuracy, val_rows), "test": metrics(run.test.accuracy, test_rows)}
        )
        for run in found.runs
    ]
    return found.model_copy(update={"runs": runs, "chance": 0.5})


@pytest.mark.parametrize(
    ("val_rows", "test_rows", "told"),
    [
        (1, 1, ["All was chosen on 1 validation row: so ", "which row the test split happens to have."]),
        (19, 2, ["All was chosen on 19 validation rows: ", "which 2 rows the test split happens to have."]),
        (20, 400, ["which 400 rows the test split happens to have."]),
    ],
)
def test_few_rows_are_told(val_rows: int, test_rows: int, told: list[str]) -> None:
    found = summary(val_rows, test_rows)
    for sentence, words in zip(found[-len(told) :], told, strict=True):
        assert words in sentence
    assert any("chosen on" in sentence for sentence in found) == (val_rows < 20)
    assert any("with 0.0 % at the bad end of its interval" in sentence for sentence in found)


def test_no_interval_goes_beyond_what_there_is() -> None:
    found = Estimate(mean=0.24, low=-0.157, high=1.637)
    assert with_interval(found, MEASURES["accuracy"]) == "24.0 % (95 % interval 0.0 to 100.0)"
    assert with_interval(found, MEASURES["r2"]) == "0.240 (95 % interval -0.157 to 1.637)"
