"""What a comparison concludes from figures that are given."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import pytest
from scipy import stats
from study_samples import compare_spec, model_result, study_result

from fdkd_core.errors import EveryMethodFailedError
from fdkd_core.spec.compare import arms
from fdkd_core.spec.measures import MEASURES
from fdkd_core.spec.result import Arm, CompareResult
from fdkd_core.studies.conclusion import Outcome, conclude
from fdkd_core.studies.report import COMPARISON_COLUMNS, comparison_csv, comparison_markdown
from fdkd_core.studies.summary import summarise

IDENTITY = {"spec": "1" * 64, "data": "2" * 64}
CONTROL = [0.80, 0.81, 0.79]
BETTER = [0.84, 0.86, 0.83]
SAME = [0.81, 0.80, 0.80]
WORSE = [0.75, 0.77, 0.74]


def concluded(
    logit: Sequence[float] | str = SAME,
    fd: Sequence[float] | str = SAME,
    fake: Sequence[float] | str = SAME,
    control: Sequence[float] | str = CONTROL,
    teacher: float | None = 0.9,
    **changes: Any,
) -> CompareResult:
    spec = compare_spec(**changes)
    figures = {"no_teacher": control, "logit_kd": logit, "fd_cmkd": fd, "fd_cmkd shuffled_pairs": fake}
    outcomes: dict[str, Outcome] = {
        label: found if isinstance(found, str) else study_result(label, spec, found)
        for label, found in figures.items()
    }
    return conclude(
        spec, outcomes, None if teacher is None else model_result(teacher), identity=IDENTITY, seconds=1.0
    )


def arm(result: CompareResult, label: str) -> Arm:
    return next(arm for arm in result.arms if arm.label == label)


def test_one_seed_has_no_intervals_that_the_report_could_speak_of() -> None:
    report = comparison_markdown(concluded([0.84], [0.75], [0.8], [0.8], seeds=1))
    assert "of one seed, so that there are no intervals and no tests" in report
    assert "tuned with 1 trial on validation" in report
    assert "Student's t" not in report
    several = comparison_markdown(concluded())
    assert "means over 3 seeds with 95 % intervals" in several
    assert "Arms with shuffled\\_pairs are controls, hollow in the plot" in several


@pytest.mark.parametrize(
    ("best", "chance", "told"),
    [
        (BETTER, 0.85, "logit_kd is not clearly better than always saying the most frequent class, or "
         "drawing one as often as it occurs, which has 85.0 % (accuracy; 84.3 % with 80.5 % at the bad end "
         "of its interval): "),
        (BETTER, 0.81, "logit_kd is not clearly better than "),
        (BETTER, 0.80, ""),
        (WORSE, 0.80, "The control is not clearly better than "),
        (BETTER, None, ""),
    ],
)  # fmt: skip
def test_the_best_at_chance_is_told_to_be_of_no_use(
    best: Sequence[float], chance: float | None, told: str
) -> None:
    spec = compare_spec()
    figures = {"no_teacher": CONTROL, "logit_kd": best, "fd_cmkd": WORSE, "fd_cmkd shuffled_pairs": WORSE}
    outcomes = {
        label: study_result(label, spec, found).model_copy(update={"chance": chance})
        for label, found in figures.items()
    }
    result = conclude(spec, outcomes, model_result(0.9), identity=IDENTITY, seconds=1.0)
    assert result.chance == chance
    found = [sentence for sentence in result.summary if "not clearly better" in sentence]
    assert [sentence.startswith(told) for sentence in found] == [True] * bool(told)
    report = comparison_markdown(result).replace("\\", "")
    assert all(sentence in report for sentence in found)


def test_one_seed_beside_chance_has_no_interval() -> None:
    spec = compare_spec(seeds=1)
    figures = {"no_teacher": [0.8], "logit_kd": [0.84], "fd_cmkd": [0.7], "fd_cmkd shuffled_pairs": [0.7]}
    outcomes = {
        label: study_result(label, spec, found).model_copy(update={"chance": 0.9})
        for label, found in figures.items()
    }
    result = conclude(spec, outcomes, model_result(0.9), identity=IDENTITY, seconds=1.0)
    assert any("which has 90.0 % (accuracy; 84.0 %): whatever helps" in told for told in result.summary)


def test_an_arm_that_was_cancelled_did_not_fail() -> None:
    page = comparison_markdown(concluded(logit="cancelled", fd=BETTER, fake="diverged: became [nan]"))
    assert "| cancelled |" in page
    assert r"failed\: cancelled" not in page
    assert r"failed\: diverged" in page


def test_an_arm_is_compared_with_the_control_seed_by_seed() -> None:
    result = concluded(logit=BETTER)
    found = arm(result, "logit_kd")
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(0.13 / 3)  # 0.04, 0.05, 0.04
    assert found.p_value == pytest.approx(stats.ttest_rel(BETTER, CONTROL).pvalue)
    assert found.teacher_gap_closed == pytest.approx((0.13 / 3) / 0.1)
    assert found.verdict == "helps"
    assert [a.label for a in result.arms] == ["no_teacher", "logit_kd", "fd_cmkd", "fd_cmkd shuffled_pairs"]
    assert [a.is_control for a in result.arms] == [True, False, False, True]
    assert arm(result, "no_teacher").difference is None
    assert result.best == "logit_kd"


def test_the_time_of_an_arm_is_that_of_all_its_trainings() -> None:
    """Trials are most of what a comparison costs; the seconds differ, so that none is counted for another."""
    spec = compare_spec()
    study = study_result("logit_kd", spec, BETTER)
    trials = [study.trials[0].model_copy(update={"number": n, "seconds": 10.0 * 4**n}) for n in range(3)]
    diverged = trials[2].model_copy(update={"val": None})
    study = study.model_copy(update={"trials": [*trials[:2], diverged], "seconds": 1000.0})
    outcomes: dict[str, Outcome] = {
        label: study_result(label, spec, SAME)
        for label in ("no_teacher", "fd_cmkd", "fd_cmkd shuffled_pairs")
    }
    outcomes |= {"logit_kd": study, "fd_cmkd": "diverged: x"}
    result = conclude(spec, outcomes, None, identity=IDENTITY, seconds=1.0)
    assert arm(result, "logit_kd").seconds == pytest.approx(10 + 40 + 160 + 3 * 2)
    assert arm(result, "no_teacher").seconds == pytest.approx(1 + 3 * 2)
    page = [line.split(" | ") for line in comparison_markdown(result).splitlines() if line.startswith("| ")]
    times = {cells[0].strip("| "): cells[-1].strip("| ") for cells in page}
    assert times == {
        "arm": "time", "no\\_teacher": "7s", "logit\\_kd": "3m 36s", "fd\\_cmkd": "",
        "fd\\_cmkd shuffled\\_pairs": "7s",
    }  # fmt: skip


def test_holm_counts_the_methods_and_not_the_controls() -> None:
    result = concluded(logit=BETTER, fd=SAME)
    better, same = arm(result, "logit_kd"), arm(result, "fd_cmkd")
    assert better.p_value is not None
    assert better.p_value_holm == pytest.approx(2 * better.p_value)
    assert same.p_value_holm == same.p_value
    assert arm(result, "fd_cmkd shuffled_pairs").p_value is not None
    assert arm(result, "fd_cmkd shuffled_pairs").p_value_holm is None


def test_holm_counts_methods_without_a_p_value_too() -> None:
    """Equal differences have none; the method was compared all the same."""
    result = concluded(logit=BETTER, fd=[value + 0.0025 for value in CONTROL])
    better, equal = arm(result, "logit_kd"), arm(result, "fd_cmkd")
    assert (equal.p_value, equal.verdict) == (None, "no evidence")
    assert better.p_value is not None
    assert better.p_value_holm == pytest.approx(2 * better.p_value)


def test_a_method_that_helps_is_said_to() -> None:
    text = concluded(logit=BETTER).summary
    assert text[0].startswith("logit_kd helps: +4.3 points (95 % interval 2.9 to 5.8) on the test split")
    assert "closes 43 % of the gap to the teacher" in text[0]
    assert 2 <= len(text) <= 5


def test_a_difference_of_errors_is_said_to_be_turned() -> None:
    """`+0.05` of an error reads like more of it."""
    arms = [found for found in concluded(fd=BETTER).arms if "shuffled" not in found.label]
    studies = {"fd_cmkd": study_result("fd_cmkd", compare_spec(), BETTER)}
    told = summarise(arms, studies, "fd_cmkd", MEASURES["rmse"])[0]
    assert "fd_cmkd helps: +0.04333 (95 % interval" in told
    assert ") in RMSE, turned so that more is better, on the test split over the tuned control." in told
    assert "turned" not in summarise(arms, studies, "fd_cmkd", MEASURES["accuracy"])[0]


def test_one_help_among_several_methods_is_doubted() -> None:
    """The interval alone says that it helps; p is 0.03, and twice that is not below 0.05."""
    result = concluded(logit=[0.82, 0.845, 0.81])
    found = arm(result, "logit_kd")
    assert found.verdict == "helps"
    assert found.p_value_holm is not None
    assert found.p_value_holm > 0.05
    assert any("may look that good by chance" in sentence for sentence in result.summary)


def test_a_control_that_is_best_is_said_to_be() -> None:
    result = concluded(logit=WORSE, fd=WORSE, fake=WORSE)
    assert result.best == "no_teacher"
    assert result.summary[0] == (
        "No method is better on validation than the tuned control: train without a teacher."
    )
    assert "hurt" in result.summary[1]
    assert arm(result, "logit_kd").verdict == "hurts"


@pytest.mark.parametrize("why", ["cancelled", "diverged: the loss became nan."])
def test_without_a_method_that_has_figures_there_is_no_comparison(why: str) -> None:
    """Else who waits for it in a script would go on with the control, as if it had won."""
    spec = compare_spec()
    outcomes: dict[str, Outcome] = {
        label: why if label in ("logit_kd", "fd_cmkd") else study_result(label, spec, CONTROL)
        for label in arms(spec, None)
    }
    with pytest.raises(EveryMethodFailedError) as caught:
        conclude(spec, outcomes, model_result(0.9), identity=IDENTITY, seconds=1.0)
    assert caught.value.reasons == dict.fromkeys(("logit_kd", "fd_cmkd"), why)
    assert f"logit_kd ({why.rstrip('.')}); fd_cmkd (" in str(caught.value)


def test_a_control_that_is_best_of_those_with_figures_is_no_advice() -> None:
    spec = compare_spec()
    outcomes: dict[str, Outcome] = {label: study_result(label, spec, WORSE) for label in arms(spec, None)}
    outcomes |= {"no_teacher": study_result("no_teacher", spec, CONTROL), "fd_cmkd": "cancelled"}
    result = conclude(spec, outcomes, model_result(0.9), identity=IDENTITY, seconds=1.0)
    assert result.summary[0] == "No method that has figures is better on validation than the tuned control."


@pytest.mark.parametrize(("teacher", "is_told"), [(0.7, True), (0.9, False), (None, False)])
def test_a_teacher_that_is_behind_the_control_is_said_to_be(teacher: float | None, is_told: bool) -> None:
    spec = compare_spec()
    outcomes: dict[str, Outcome] = {label: study_result(label, spec, CONTROL) for label in arms(spec, None)}
    measured = None if teacher is None else model_result(teacher)
    result = conclude(spec, outcomes, measured, identity=IDENTITY, seconds=1.0)
    told = [sentence for sentence in result.summary if "The teacher does worse" in sentence]
    assert len(told) == is_told
    if is_told:
        assert "(70.0 % against 80.0 %, accuracy)" in told[0]


def test_validation_picks_the_arm_and_not_the_test_split() -> None:
    """What is best on validation is worst on the test rows, and the other way round."""
    for best, told in (
        ("logit_kd", "logit_kd is best on validation, and yet it hurts: -4.7 points"),
        ("no_teacher", "No method is better on validation than the tuned control: train without a teacher."),
    ):
        spec = compare_spec()
        outcomes = {}
        for label in arms(spec, None):
            val, test = (BETTER, WORSE) if label == best else (SAME, CONTROL)
            outcomes[label] = study_result(label, spec, test, val)
        result = conclude(spec, outcomes, None, identity=IDENTITY, seconds=1.0)
        assert result.best == best
        assert result.summary[0].startswith(told)


def test_a_tie_goes_to_the_control() -> None:
    assert concluded(logit=CONTROL, fd=CONTROL, fake=CONTROL).best == "no_teacher"


def test_a_fake_teacher_that_helps_no_less_is_called_out() -> None:
    result = concluded(fd=BETTER, fake=[0.84, 0.86, 0.835])
    assert arm(result, "fd_cmkd").verdict == "helps"
    assert arm(result, "fd_cmkd shuffled_pairs").verdict == "helps"
    assert any("no less than with the real teacher" in sentence for sentence in result.summary)


def test_a_fake_teacher_that_helps_less_is_not_said_to_do_as_well() -> None:
    """The real teacher is well ahead, though three seeds do not settle it."""
    result = concluded(fd=[0.90, 0.86, 0.89], fake=[0.825, 0.84, 0.82])
    assert arm(result, "fd_cmkd shuffled_pairs").verdict == "helps"
    sentence = next(found for found in result.summary if "shuffled pairs" in found)
    assert sentence.startswith("Part of the gain needs no knowledge: with shuffled pairs fd_cmkd gains +2.8")
    assert "the real one is ahead by +5.5 points (95 % interval -" in sentence


VIEWS = ["shuffled_pairs", "permuted_channels"]


def with_permuted(fd: Sequence[float], permuted: Sequence[float]) -> CompareResult:
    """A comparison whose shuffled pairs do nothing."""
    spec = compare_spec(fake_teachers=VIEWS)
    figures = {
        "no_teacher": CONTROL, "logit_kd": SAME, "fd_cmkd": fd, "fd_cmkd shuffled_pairs": CONTROL,
        "fd_cmkd permuted_channels": permuted,
    }  # fmt: skip
    outcomes: dict[str, Outcome] = {
        label: study_result(label, spec, found) for label, found in figures.items()
    }
    return conclude(spec, outcomes, None, identity=IDENTITY, seconds=1.0)


def test_permuted_channels_speak_of_the_order_and_not_of_what_the_teacher_knows() -> None:
    """They leave the teacher all that it knows: doing as well with them takes nothing from it."""
    text = with_permuted(BETTER, BETTER).summary
    assert any(sentence.startswith("It takes the real teacher: with shuffled pairs") for sentence in text)
    assert any("Nothing shows that the order" in sentence for sentence in text)
    text = with_permuted(BETTER, CONTROL).summary
    assert any(sentence.startswith("The order of the teacher's channels matters") for sentence in text)


def test_a_method_that_knows_no_order_of_channels_is_not_run_with_another() -> None:
    """It would be the method itself once more, bit for bit."""
    together = {"name": "combine", "parts": [{"method": {"name": "logit_kd"}}, {"method": {"name": "rkd"}}]}
    for method in ({"name": "dist"}, {"name": "rkd"}, together):
        spec = compare_spec(methods=[method], fake_teachers=VIEWS)
        assert list(arms(spec, None)) == ["no_teacher", method["name"], f"{method['name']} shuffled_pairs"]
    for method in ({"name": "pkd"}, {**together, "parts": [*together["parts"], {"method": {"name": "pkd"}}]}):
        assert f"{method['name']} permuted_channels" in arms(
            compare_spec(methods=[method], fake_teachers=VIEWS), None
        )


def test_a_fake_teacher_that_does_nothing_speaks_for_the_real_one() -> None:
    result = concluded(fd=BETTER, fake=CONTROL)
    assert any(sentence.startswith("It takes the real teacher") for sentence in result.summary)


def test_a_fake_that_cannot_be_told_apart_leaves_it_open() -> None:
    result = concluded(fd=BETTER, fake=[0.80, 0.87, 0.80])
    assert any("is open" in sentence for sentence in result.summary)


def test_a_fake_teacher_is_never_best() -> None:
    assert concluded(fake=[0.99, 0.99, 0.99]).best != "fd_cmkd shuffled_pairs"


def test_one_seed_is_evidence_for_nothing() -> None:
    result = concluded(logit=[0.9], fd=[0.7], fake=[0.8], control=[0.8])
    found = arm(result, "logit_kd")
    assert found.difference is not None
    assert found.difference.low == found.difference.high == pytest.approx(0.1)
    assert found.p_value is None
    assert {a.verdict for a in result.arms if a.difference} == {"no evidence"}
    assert "no evidence that it helps: +10.0 points" in result.summary[0]
    assert result.summary[-1].startswith("Each arm ran with one seed")


def test_an_arm_that_failed_has_its_reason_and_the_others_their_figures() -> None:
    result = concluded(logit="diverged: too high a rate.", fd=BETTER)
    found = arm(result, "logit_kd")
    assert found.error == "diverged: too high a rate."
    assert (found.lr, found.val, found.test, found.verdict, found.method) == (
        None,
        None,
        None,
        None,
        "logit_kd",
    )
    assert arm(result, "fd_cmkd").verdict == "helps"
    assert "Without figures: logit_kd (diverged: too high a rate)." in result.summary


def test_without_the_control_nothing_is_claimed() -> None:
    result = concluded(logit=BETTER, control="it was deleted")
    assert {a.verdict for a in result.arms} == {None}
    assert result.best == "logit_kd"
    assert "not known" in result.summary[0]


def test_when_all_failed_there_is_no_result() -> None:
    with pytest.raises(EveryMethodFailedError, match="no luck"):
        concluded(*["no luck"] * 4)


def test_the_figures_are_those_that_training_selects_by() -> None:
    result = concluded(logit=BETTER, training={"select_by": "macro_f1"})
    assert result.metric == "macro_f1"
    found = arm(result, "logit_kd")
    assert found.test is not None
    assert found.test.mean == pytest.approx(sum(BETTER) / 3 - 0.01)


def test_a_small_gap_to_the_teacher_has_no_share() -> None:
    assert arm(concluded(logit=BETTER, teacher=0.805), "logit_kd").teacher_gap_closed is None
    assert arm(concluded(logit=BETTER, teacher=None), "logit_kd").teacher_gap_closed is None


def test_the_csv_has_a_row_for_each_run_and_for_the_teacher() -> None:
    result = concluded(logit=BETTER)
    rows = list(csv.DictReader(io.StringIO(comparison_csv(result))))
    assert tuple(rows[0]) == (*COMPARISON_COLUMNS, "test_macro_f1", "seconds")
    assert [row["method"] for row in rows] == ["teacher", *(a.label for a in result.arms for _ in range(3))]
    assert [*rows[4].values()] == [
        "vectors-teach-series", "logit_kd", "1", "0.1", "weight=1", "1", "0.8400", "0.8400", "0.8300", "2.0",
    ]  # fmt: skip


def test_the_page_shows_every_arm_and_every_sentence() -> None:
    result = concluded(logit=BETTER, fd="diverged", name="a [link](x)")
    page = comparison_markdown(result)
    assert "a \\[link\\](x)" in page
    for found in result.arms:
        assert found.label.replace("_", "\\_") in page
    assert "+4.3 (+2.9 to +5.8)" in page
    assert "failed\\: diverged" in page


def test_why_a_trial_was_taken_reaches_the_arm_and_the_page() -> None:
    spec = compare_spec()
    study = study_result("logit_kd", spec, SAME).model_copy(update={"chosen": "As stated: so it is."})
    others = {
        label: study_result(label, spec, SAME)
        for label in ("no_teacher", "fd_cmkd", "fd_cmkd shuffled_pairs")
    }
    result = conclude(spec, {**others, "logit_kd": study}, None, identity=IDENTITY, seconds=1.0)
    assert arm(result, "logit_kd").chosen == "As stated: so it is."
    page = comparison_markdown(result)
    assert "Which trial each arm took:\n\n- logit\\_kd: As stated\\: so it is." in page
    assert "- fd\\_cmkd" not in page
    assert "Which trial" not in comparison_markdown(concluded())
