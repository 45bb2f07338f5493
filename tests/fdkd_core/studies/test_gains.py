"""What a comparison says where other test rows, or other speakers, could turn what it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats
from study_samples import compare_spec, metrics, model_result, study_result

from fdkd_core.spec.result import Arm, CompareResult, StudyResult
from fdkd_core.studies.conclusion import Outcome, conclude
from fdkd_core.studies.gains import gain_over
from fdkd_core.studies.report import comparison_markdown
from fdkd_core.studies.row_blocks import RowGroups, row_blocks

ROWS = 400
IDENTITY = {"spec": "1" * 64, "data": "2" * 64}
SPEAKERS = RowGroups(np.arange(ROWS) // 40, "group")
ONE = RowGroups(np.zeros(ROWS, np.int64), "group")


def study(
    label: str, right_by_speaker: Sequence[int], groups: RowGroups | None, **changes: Any
) -> StudyResult:
    """An arm whose seeds differ by a percent, right about so many of each speaker's 40 rows."""
    spec = compare_spec(**changes)
    shares = np.concatenate([np.arange(40) < right for right in right_by_speaker]).astype(float)
    mean = float(shares.mean())
    figures = [mean + moved for moved in (0.0, 0.01, -0.01)[: spec.seeds]]
    blocks = row_blocks(np.stack([shares] * spec.seeds), np.full(ROWS, 0.5), groups)
    return study_result(label, spec, figures).model_copy(update={"test_rows": blocks, "chance": 0.5})


def concluded(
    method: Sequence[int],
    groups: RowGroups | None = SPEAKERS,
    control: Sequence[int] = (24,) * 10,
    **changes: Any,
) -> CompareResult:
    """A comparison in which one method differs from the control, its seeds not by as much as it gains."""
    spec = compare_spec(fake_teachers=[], methods=[{"name": "fd_cmkd"}], **changes)
    outcomes: dict[str, Outcome] = {
        "no_teacher": study("no_teacher", control, groups, **changes),
        "fd_cmkd": moved(study("fd_cmkd", method, groups, **changes), (0.0, -0.004, 0.005)),
    }
    return conclude(spec, outcomes, model_result(0.9), identity=IDENTITY, seconds=1.0)


def moved(found: StudyResult, by: Sequence[float]) -> StudyResult:
    """The study with its seeds' figures changed by so much."""
    runs = [
        run.model_copy(update={"test": metrics(run.test.accuracy + change), "val": run.val})
        for run, change in zip(found.runs, by, strict=False)
    ]
    return found.model_copy(update={"runs": runs})


def arm(result: CompareResult) -> Arm:
    return next(found for found in result.arms if found.label == "fd_cmkd")


def test_a_gain_with_every_speaker_helps() -> None:
    result = concluded([27, 28, 29, 27, 28, 29, 27, 28, 29, 28])
    found = arm(result)
    assert found.verdict == "helps"
    assert result.intervals == "seeds and the 10 groups of the test split"
    assert result.summary[-1] == (
        "The intervals of differences are over 3 seeds of training, and over which 10 groups the test split "
        "happens to have."
    )
    assert "It takes" not in " ".join(result.summary)


def test_a_gain_with_one_speaker_alone_is_no_evidence() -> None:
    """+4 points whatever the seed, all of it with one voice of ten."""
    result = concluded([40, *[24] * 9])
    found = arm(result)
    assert found.over_seeds is not None
    assert found.difference is not None
    assert found.over_seeds.low > 0.0 > found.difference.low
    assert found.difference.mean == found.over_seeds.mean
    assert (found.verdict, found.p_value is not None and found.p_value > 0.05) == ("no evidence", True)
    assert result.summary[0].startswith(
        "fd_cmkd is best on validation, but there is no evidence that it helps: +"
    )
    assert result.summary[1].startswith(
        "On these very test rows it is better whatever the seed, by +4.0 points ("
    )
    page = comparison_markdown(result)
    assert "Their intervals are over seeds and the 10 groups of the test split; p is the level" in page


def test_the_same_gain_of_rows_that_are_independent_may_help() -> None:
    assert arm(concluded([40, *[24] * 9], None)).verdict == "helps"


def test_p_and_half_width_by_scipy() -> None:
    found = arm(concluded([27, 28, 29, 27, 28, 29, 27, 28, 29, 28]))
    assert found.row_error is not None
    assert found.difference is not None
    assert found.over_seeds is not None
    of_seeds = found.over_seeds.high - found.over_seeds.mean
    of_rows = stats.t.ppf(0.975, 9) * found.row_error
    assert found.difference.high - found.difference.mean == pytest.approx(np.hypot(of_seeds, of_rows))
    assert found.p_value is not None
    error = of_seeds / stats.t.ppf(0.975, 2)
    halves = np.hypot(
        stats.t.isf(found.p_value / 2, 2) * error, stats.t.isf(found.p_value / 2, 9) * found.row_error
    )
    assert halves == pytest.approx(found.difference.mean, rel=1e-6)


def test_rows_of_one_group_tell_nothing_of_another() -> None:
    result = concluded([28] * 10, ONE)
    found = arm(result)
    assert (found.row_error, result.intervals, found.verdict) == (None, "seeds", "helps")
    assert found.difference == found.over_seeds
    assert result.summary[-1] == (
        "The intervals are over 3 seeds of training; the test split has 1 group alone, which does not tell "
        "how another would differ."
    )
    assert "do not cover the choice of the test rows; p is of the paired t-test" in comparison_markdown(
        result
    )


@pytest.mark.parametrize("earlier", ["no_teacher", "fd_cmkd"])
def test_arms_of_an_earlier_release_are_compared_over_seeds(earlier: str) -> None:
    spec = compare_spec(fake_teachers=[], methods=[{"name": "fd_cmkd"}])
    studies = {
        "no_teacher": study("no_teacher", [24] * 10, SPEAKERS),
        "fd_cmkd": study("fd_cmkd", [28] * 10, SPEAKERS),
    }
    studies[earlier] = studies[earlier].model_copy(update={"test_rows": None})
    result = conclude(spec, studies, None, identity=IDENTITY, seconds=1.0)
    found = arm(result)
    assert (found.row_error, result.intervals) == (None, "seeds")
    assert found.difference == found.over_seeds
    assert "they do not cover which 400 rows" in result.summary[-1]


def test_one_seed_stays_evidence_for_nothing() -> None:
    result = concluded([28] * 10, seeds=1)
    found = arm(result)
    assert found.difference is not None
    assert found.difference.low == found.difference.high
    assert (found.verdict, found.p_value, found.row_error) == ("no evidence", None, None)
    assert result.summary[-1].startswith("Each arm ran with one seed")


def test_seeds_that_agree_by_steps_of_a_row_stay_no_evidence() -> None:
    ours, others = study("fd_cmkd", [28] * 10, SPEAKERS), study("no_teacher", [24] * 10, SPEAKERS)
    found = gain_over(ours, others, "accuracy")
    assert found is not None
    assert found.over_seeds.low == found.over_seeds.high
    assert (found.verdict, found.p_value) == ("no evidence", None)


def test_studies_without_a_seed_in_common_have_no_gain() -> None:
    ours, others = study("fd_cmkd", [28] * 10, SPEAKERS), study("no_teacher", [24] * 10, SPEAKERS)
    others = others.model_copy(update={"runs": [run.model_copy(update={"seed": 9}) for run in others.runs]})
    assert gain_over(ours, others, "accuracy") is None


def test_whom_few_speakers_let_look_better_than_chance_is_told_so() -> None:
    """55 % where chance has 50: clear over seeds, and two speakers of ten are all of it."""
    lucky = [40, 40, *[17] * 8]
    result = concluded(lucky, SPEAKERS, [16] * 10)
    assert arm(result).test is not None
    told = [sentence for sentence in result.summary if "not clearly better than" in sentence]
    assert len(told) == 1
    assert "which has 50.0 %" in told[0]
    assert not [s for s in concluded([30] * 10).summary if "not clearly better than" in s]
