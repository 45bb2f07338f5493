from __future__ import annotations

from typing import Any

import pytest
from diagnosed import good_findings, similarity

from fdkd_core.diagnosis.verdict import judge
from fdkd_core.spec import (
    FD_CMKD_WITH_LOGITS,
    CombinedPart,
    CombineSpec,
    DISTSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    NoneSpec,
)
from fdkd_core.spec.findings import Findings, Reason

FD_CMKD = FDCMKDSpec()
LOGITS = CombineSpec(parts=(CombinedPart(method=LogitKDSpec()), CombinedPart(method=DISTSpec())))


def reason_of(findings: Findings, rule: str, method: Any = FD_CMKD) -> Reason:
    """The first thing that a rule says; the verdict must not be better than that."""
    verdict, reasons, advice = judge(findings, method)
    found = next(reason for reason in reasons if reason.rule == rule)
    allowed = {"for": 3, "unclear": 2, "against": 1}[found.speaks]
    assert verdict in ("unpromising", "uncertain", "promising")[:allowed]
    assert advice
    return found


def test_nothing_wrong_is_promising() -> None:
    verdict, reasons, advice = judge(good_findings(), FD_CMKD)
    assert verdict == "promising"
    assert {reason.speaks for reason in reasons} == {"for"}
    assert {reason.rule for reason in reasons} == {
        "pairing", "alignment", "teacher", "headroom", "similarity", "bands", "power",
    }  # fmt: skip
    assert advice == ["Run the job with its control, or `compare` for more than one method."]


def test_the_worst_reason_decides_and_stands_first() -> None:
    findings = good_findings(headroom={"gap": -0.1, "teacher": 0.4}, sample={"measured_rows": 30}, pairing={})
    verdict, reasons, advice = judge(findings, FD_CMKD)
    assert verdict == "unpromising"
    assert [reason.speaks for reason in reasons][:3] == ["against", "unclear", "for"]
    assert advice[0] == "Turn the direction round, or use a stronger teacher."


@pytest.mark.parametrize(
    ("gap", "error", "speaks"),
    [(0.4, 0.02, "for"), (0.03, 0.02, "unclear"), (0.015, 0.001, "unclear"), (0.0, 0.02, "against")],
)
def test_a_teacher_must_be_ahead(gap: float, error: float, speaks: str) -> None:
    headroom = {"gap": gap, "standard_error": error}
    assert reason_of(good_findings(headroom=headroom), "headroom").speaks == speaks


@pytest.mark.parametrize(
    ("gap", "words"),
    [(-0.03, "knows no more than its student"), (-0.05, "knows less than its student")],
)
def test_a_teacher_knows_less_only_beyond_noise(gap: float, words: str) -> None:
    text = reason_of(good_findings(headroom={"gap": gap, "standard_error": 0.02}), "headroom").text
    assert words in text
    assert "linear probe" not in text


def test_a_network_that_is_behind_its_own_modality_is_not_a_modality_that_knows_less() -> None:
    probes = [
        {
            "part": "teacher",
            "view": view,
            "accuracy": value,
            "macro_f1": value,
            "figures": {"accuracy": value},
        }
        for view, value in (("network", 0.56), ("features", 0.91), ("inputs", 0.94))
    ]
    headroom = {"gap": -0.03, "teacher": 0.56, "student": 0.59, "probes": probes}
    findings = good_findings(headroom=headroom)
    reason = reason_of(findings, "headroom")
    assert reason.speaks == "against"
    assert "But a linear probe on its inputs reaches 94.0 %: its network, trained here for 300" in reason.text
    assert judge(findings, FD_CMKD)[2][0].startswith("Train the teacher for longer")
    # A given teacher is what it is.
    given = findings.networks[0].model_copy(update={"how": "given"})
    findings = findings.model_copy(update={"networks": [given, findings.networks[1]]})
    assert "linear probe" not in reason_of(findings, "headroom").text
    assert judge(findings, FD_CMKD)[2][0].startswith("Turn the direction round")


def test_a_teacher_at_chance_knows_nothing() -> None:
    findings = good_findings(headroom={"teacher": 0.11})
    assert reason_of(findings, "teacher").speaks == "against"
    # A column that was shuffled alone teaches nothing either, whatever learns from it.
    assert (
        "the rows of the teacher's column belong to their labels. Else find a"
        in judge(findings, FD_CMKD)[2][0]
    )
    given = findings.networks[0].model_copy(update={"how": "given"})
    findings = findings.model_copy(update={"networks": [given, findings.networks[1]]})
    assert judge(findings, FD_CMKD)[2][0].startswith("Find a better teacher")


def test_a_teacher_that_was_not_trained_leaves_it_open() -> None:
    findings = good_findings()
    teacher = findings.networks[0].model_copy(update={"how": "untrained"})
    findings = findings.model_copy(update={"networks": [teacher, findings.networks[1]]})
    assert reason_of(findings, "teacher").speaks == "unclear"


@pytest.mark.parametrize(
    ("shared", "within", "value", "method", "speaks"),
    [
        (True, True, 0.3, FD_CMKD, "for"),
        (True, True, 0.03, FD_CMKD, "unclear"),
        (True, False, 0.3, FD_CMKD, "unclear"),
        (False, False, 0.0, FD_CMKD, "against"),
        (False, False, 0.0, FeatureMSESpec(), "against"),
        (False, False, 0.0, LogitKDSpec(), "unclear"),
        (False, False, 0.0, NoneSpec(), "unclear"),
        (False, False, 0.0, LOGITS, "unclear"),
        (False, False, 0.0, FD_CMKD_WITH_LOGITS, "against"),
    ],
)
def test_pairs_must_share_something(
    shared: bool, within: bool, value: float, method: Any, speaks: str
) -> None:
    measures = [similarity(b, shared=shared, within=within, value=value) for b in ("low", "high", "whole")]
    findings = good_findings(similarity={"measures": measures})
    assert reason_of(findings, "similarity", method).speaks == speaks


def test_class_pairs_are_sent_to_logits() -> None:
    measures = [similarity(band, within=False) for band in ("low", "high", "whole")]
    _, _, advice = judge(good_findings(similarity={"measures": measures}), FD_CMKD)
    assert "logit_kd" in advice[0]


def whole_by_view(**within: bool) -> list[dict[str, Any]]:
    """Measures of the whole feature, named `VIEW_MEASURE`; inputs predict it better than features do."""
    null = {"mean": 0.25, "low": 0.2, "high": 0.28}
    found = [similarity("low"), similarity("high")]
    for name in ("inputs_r2", "inputs_cka", "features_r2", "features_cka"):
        view, measure = name.split("_")
        value = 0.27 if view == "inputs" else 0.11
        shown = similarity("whole", within=within.get(name, False), value=value)
        found.append({**shown, "view": view, "measure": measure, "shuffled_within_class": null})
    return found


def test_more_than_the_class_is_not_said_beside_a_figure_that_denies_it() -> None:
    findings = good_findings(similarity={"measures": whole_by_view(inputs_cka=True)})
    reason = reason_of(findings, "similarity")
    assert reason.speaks == "unclear"
    assert "is open" in reason.text
    assert "(shuffled pairs: -1.0 to 1.0 %; within a class: 20.0 to 28.0 %)" in reason.text
    _, _, advice = judge(findings, FD_CMKD)
    assert advice == [
        "Compare methods that pair single samples with logits (logit_kd) or class-wise targets."
    ]


def test_more_than_the_class_is_said_with_the_figure_that_shows_it() -> None:
    findings = good_findings(similarity={"measures": whole_by_view(features_r2=True, inputs_cka=True)})
    reason = reason_of(findings, "similarity")
    assert reason.speaks == "for"
    assert "11.0 % of the teacher's feature can be predicted from the student's features" in reason.text
    assert "within a class: 20.0 to 28.0 %" in reason.text


def test_the_lead_of_the_teacher_says_what_its_noise_is() -> None:
    text = reason_of(good_findings(), "headroom").text
    assert "(+40.0 ± 4.0 points, two standard errors)" in text


@pytest.mark.parametrize("method", [FD_CMKD, FD_CMKD_WITH_LOGITS])
def test_fd_cmkd_wants_the_low_band_to_be_shared(method: Any) -> None:
    measures = [similarity("low", shared=False, within=False), similarity("high"), similarity("whole")]
    findings = good_findings(similarity={"measures": measures})
    assert reason_of(findings, "bands", method).speaks == "unclear"
    for without in (LogitKDSpec(), LOGITS, FDCMKDSpec(split=False)):
        _, reasons, _ = judge(findings, without)
        assert "bands" not in {reason.rule for reason in reasons}


@pytest.mark.parametrize(
    ("value", "words"), [(0.3, "has a meaning"), (0.2, "promises nothing"), (0.255, "promises nothing")]
)
def test_the_split_is_held_against_other_channel_orders(value: float, words: str) -> None:
    measures = [similarity("low", value=value), similarity("high"), similarity("whole")]
    assert words in reason_of(good_findings(similarity={"measures": measures}), "bands").text


def test_a_low_band_that_hardly_shares_anything_promises_nothing() -> None:
    """Above its null by the luck of many measures, say."""
    measures = [similarity("low", value=0.015), similarity("high"), similarity("whole")]
    found = reason_of(good_findings(similarity={"measures": measures}), "bands")
    assert (found.speaks, "shares little: 1.5 %" in found.text) == ("unclear", True)


def test_the_features_of_an_untrained_student_are_called_that() -> None:
    findings = good_findings(similarity={"measures": whole_by_view(features_r2=True, inputs_cka=True)})
    student = findings.networks[1].model_copy(update={"how": "untrained"})
    findings = findings.model_copy(update={"networks": [findings.networks[0], student]})
    assert "the student's features at its initial weights" in reason_of(findings, "similarity").text


def test_a_shift_is_named_and_goes_first() -> None:
    scans = [scan.model_dump() for scan in good_findings().pairing.alignment]
    scans[0]["best_shift"] = scans[2]["best_shift"] = 1
    findings = good_findings(pairing={"alignment": scans})
    found = reason_of(findings, "alignment")
    assert found.speaks == "against"
    assert "teacher row i fits student row i+1 (R² 0.50) better than row i (R² 0.40)" in found.text
    _, _, advice = judge(findings, FD_CMKD)
    assert "the student's column" in advice[0]


def test_shifts_that_could_not_be_tried_speak_for_nothing() -> None:
    scans = [{**scan.model_dump(), "shifts": []} for scan in good_findings().pairing.alignment]
    found = reason_of(good_findings(pairing={"alignment": scans}), "alignment")
    assert found.speaks == "unclear"
    assert "could not be tested" in found.text
    # Labels that do not vary leave theirs out, and what belongs together was looked at all the same.
    scans[0] = good_findings().pairing.alignment[0].model_dump()
    assert reason_of(good_findings(pairing={"alignment": scans}), "alignment").speaks == "for"


def leak(part: str, rows: int) -> dict[str, Any]:
    return {
        "first_split": "train", "second_split": "test", "part": part, "equal_rows": rows, "near_rows": 1,
        "checked_rows": 500, "examples": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pairing", "words"),
    [
        ({"leaks": [leak("student", 10)]}, "11 of 500 test rows"),
        ({"blank_rows": {"teacher": 0, "student": 100}}, "100 of 1,500 rows have a blank student sample"),
        ({"contradicting_rows": {"teacher": 50, "student": 0}}, "50 rows hold a teacher sample"),
    ],
)
def test_faults_of_pairs_are_named(pairing: dict[str, Any], words: str) -> None:
    found = reason_of(good_findings(pairing=pairing), "pairing")
    assert found.speaks == "unclear"
    assert words in found.text


def test_a_few_faults_and_leaks_of_the_teacher_alone_are_let_pass() -> None:
    pairing = {
        "leaks": [leak("student", 3), leak("teacher", 400)],
        "blank_rows": {"teacher": 3, "student": 0},
        "contradicting_rows": {"teacher": 3, "student": 0},
    }
    assert reason_of(good_findings(pairing=pairing), "pairing").speaks == "for"


def test_faults_of_the_student_are_held_against_rows_without_a_teacher_too() -> None:
    pairing = {"blank_rows": {"teacher": 0, "student": 35}}
    assert reason_of(good_findings(pairing=pairing), "pairing").speaks == "unclear"
    findings = good_findings(pairing=pairing, sample={"unpaired_rows": 500})
    assert reason_of(findings, "pairing").speaks == "for"
    teacher = good_findings(
        pairing={"blank_rows": {"teacher": 35, "student": 0}}, sample={"unpaired_rows": 500}
    )
    assert "35 of 1,500 rows have a blank teacher sample" in reason_of(teacher, "pairing").text


@pytest.mark.parametrize(("split", "name"), [(0, "train"), (1, "val")])
def test_repeated_pairs_are_a_fault(split: int, name: str) -> None:
    repeats = [part.model_dump() for part in good_findings().pairing.repeats]
    rows = repeats[split]["rows"]
    repeats[split]["repeated_pairs"] = rows // 10
    assert reason_of(good_findings(pairing={"repeats": repeats}), "pairing").speaks == "for"
    repeats[split]["repeated_pairs"] = rows // 10 + 1
    found = reason_of(good_findings(pairing={"repeats": repeats}), "pairing")
    assert found.speaks == "unclear"
    assert f"{rows // 10 + 1:,} of {rows:,} {name} pairs stand in an earlier row already" in found.text


def test_most_rows_without_a_teacher_are_a_fault() -> None:
    rows = good_findings().sample.train_rows
    assert reason_of(good_findings(sample={"unpaired_rows": rows // 2}), "pairing").speaks == "for"
    findings = good_findings(sample={"unpaired_rows": rows // 2 + 1})
    found = reason_of(findings, "pairing")
    assert found.speaks == "unclear"
    assert f"of {rows:,} training rows lack the teacher's sample" in found.text
    assert any("pairing: class" in step for step in judge(findings, FD_CMKD)[2])


def test_pairs_that_are_not_one_to_one_are_remarked_on() -> None:
    repeats = [part.model_dump() for part in good_findings().pairing.repeats]
    repeats[0].update(student_rows=500, student_samples=100, most_teachers=6)
    found = reason_of(good_findings(pairing={"repeats": repeats}), "pairing")
    assert found.speaks == "for"
    assert "up to 6 different teacher samples" in found.text


def test_a_test_split_must_be_large_enough() -> None:
    headroom = {"expected_gain": 0.02, "detectable_gain": 0.05}
    assert reason_of(good_findings(headroom=headroom), "power").speaks == "unclear"


def test_few_measured_rows_leave_it_open() -> None:
    assert reason_of(good_findings(sample={"measured_rows": 60}), "sample").speaks == "unclear"


@pytest.mark.parametrize(
    ("sample", "headroom", "words"),
    [
        (
            {"val_rows": 1},
            {"is_one_label": True},
            "on 1 validation row, where chance is 10.0 %, but a single",
        ),
        ({"val_rows": 8}, {}, "on 8 validation rows, where chance is 10.0 %, but so few rows tell little"),
        ({"val_rows": 13}, {"is_one_label": True}, "but all of these rows have the same label."),
        (
            {},
            {"groups": 1},
            "on 1,000 validation rows, where chance is 10.0 %, but all of these rows are of one",
        ),
    ],
)
@pytest.mark.parametrize("teacher", [0.05, 1.0])
def test_few_validation_rows_say_neither_that_a_teacher_knows_nor_that_it_does_not(
    sample: dict[str, Any], headroom: dict[str, Any], words: str, teacher: float
) -> None:
    figures = {"teacher": teacher, "gap": teacher - 0.5, "standard_error": 0.0, "teacher_error": 0.0}
    findings = good_findings(sample=sample, headroom={**figures, **headroom})
    known, ahead = (reason_of(findings, rule) for rule in ("teacher", "headroom"))
    assert known.speaks == ahead.speaks == "unclear"
    assert known.text.startswith("Whether the teacher knows the classes is open: ")
    assert words in known.text
    assert ahead.text.startswith("Whether the teacher is ahead is open: ")
    assert "± 0.0" not in ahead.text
    assert "points, of unknown noise)" in ahead.text
    # Of a gap that nobody knows, nobody knows a tenth either.
    assert all(reason.rule != "power" for reason in judge(findings, FD_CMKD)[1])


def test_a_verdict_says_how_many_rows_it_rests_on() -> None:
    assert "90.0 % accuracy on 1,000 validation rows" in reason_of(good_findings(), "teacher").text


def test_few_measured_rows_do_not_say_that_nothing_is_shared() -> None:
    nothing = {"measures": [similarity(band, shared=False) for band in ("low", "high", "whole")]}
    found = reason_of(good_findings(similarity=nothing, sample={"measured_rows": 60}), "similarity")
    assert found.speaks == "unclear"
    assert found.text.endswith("More may be shared than so few rows can show.")
    assert reason_of(good_findings(similarity=nothing), "similarity").speaks == "against"
