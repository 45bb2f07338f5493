"""What the report says of headroom, whichever way is better."""

from __future__ import annotations

from typing import Any

from diagnosed import good_findings

from fdkd_core.diagnosis.report import diagnosis_markdown
from fdkd_core.spec.findings import DiagnosisResult


def report(**headroom: Any) -> str:
    findings = good_findings(headroom=headroom)
    return diagnosis_markdown(
        DiagnosisResult(
            kind="diagnose", name="d", spec_sha256="1" * 64, data_sha256="2" * 64, findings=findings,
            verdict="uncertain", reasons=[], advice=[], versions={}, device="cpu", threads=1, seconds=1.0,
        )
    )  # fmt: skip


def test_a_gap_is_what_a_method_closes_a_tenth_of() -> None:
    text = report()
    assert "the gap is +40.0 ± 2.0 points" in text
    assert "A good method may add 4.0 points, a tenth of the gap; 10,000 test rows" in text


def test_where_the_teacher_is_behind_there_is_nothing_to_close() -> None:
    text = report(gap=-0.2, expected_gain=0.0)
    assert "There is no gap of which a method could close a share; 10,000 test rows" in text
    assert "tenth of the gap" not in text


def test_a_gap_of_errors_is_told_of_the_teacher() -> None:
    text = report(metric="mae", teacher=3.0, student=5.0, chance=9.0, gap=2.0, standard_error=0.25)
    assert "the teacher's is smaller by 2 ± 0.25 (one standard error" in text
    assert "the gap is" not in text
