"""Planted pairs whose shift is known."""

from __future__ import annotations

import numpy as np
import pytest
from diagnosed import good_findings

from fdkd_core.diagnosis.alignment import check_alignment
from fdkd_core.diagnosis.tasks.classification import one_hot
from fdkd_core.diagnosis.verdict import judge
from fdkd_core.spec import FDCMKDSpec
from fdkd_core.spec.findings import AlignmentFindings

ROWS = 240


def pairs(seed: int, *, by_class: bool = False, slow: bool = False) -> tuple[np.ndarray, ...]:
    """Labels, teacher and student of one latent; or of one class only; or of neighbours that are alike."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), ROWS // 4) if slow else rng.integers(0, 4, ROWS)
    latent = rng.normal(size=(4, 6))[labels] + rng.normal(size=(ROWS, 6))
    if slow:
        latent = np.apply_along_axis(lambda x: np.convolve(x, np.ones(5) / 5, mode="same"), 0, latent)
    own = rng.normal(size=(4, 6))[labels] if by_class else latent
    teacher = latent @ rng.normal(size=(6, 12)) + 0.3 * rng.normal(size=(ROWS, 12))
    student = own @ rng.normal(size=(6, 9)) + 0.3 * rng.normal(size=(ROWS, 9))
    return labels, teacher, student


def check(labels: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> dict[str, AlignmentFindings]:
    rows = np.arange(len(labels))
    found = check_alignment(rows, one_hot(labels), labels, teacher, student, np.random.default_rng(0))
    return {scan.what: scan for scan in found}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", [{}, {"by_class": True}, {"slow": True}])
def test_right_pairs_are_left_alone(seed: int, kind: dict[str, bool]) -> None:
    found = check(*pairs(seed, **kind))
    assert [scan.best_shift for scan in found.values()] == [0, 0, 0]
    scan = found["teacher_from_student"]
    assert scan.fit > scan.shuffled.high
    assert scan.shuffled_within_class is not None
    assert (scan.fit > scan.shuffled_within_class.high) == (not kind.get("by_class", False))


@pytest.mark.parametrize("shift", [1, -1, 3])
@pytest.mark.parametrize("by_class", [False, True])
def test_a_shifted_student_is_found_and_its_shift_named(shift: int, by_class: bool) -> None:
    labels, teacher, student = pairs(0, by_class=by_class)
    found = check(labels, teacher, np.roll(student, shift, axis=0))
    assert {what: scan.best_shift for what, scan in found.items()} == {
        "teacher_from_student": shift,
        "label_from_teacher": 0,
        "label_from_student": shift,
    }


def test_a_shifted_teacher_moves_the_other_way() -> None:
    labels, teacher, student = pairs(1)
    found = check(labels, np.roll(teacher, 2, axis=0), student)
    assert {what: scan.best_shift for what, scan in found.items()} == {
        "teacher_from_student": -2,
        "label_from_teacher": 2,
        "label_from_student": 0,
    }


def test_shifted_neighbours_that_are_alike_are_found_too() -> None:
    labels, teacher, student = pairs(2, slow=True)
    assert check(labels, teacher, np.roll(student, 1, axis=0))["teacher_from_student"].best_shift == 1


def test_only_neighbours_in_the_file_are_compared() -> None:
    """Every second row of the file: no row has its neighbour, each has the row two further."""
    labels, teacher, student = pairs(3)
    rows = 2 * np.arange(ROWS)
    found = check_alignment(rows, one_hot(labels), None, teacher, student, np.random.default_rng(0))
    assert found[0].shuffled_within_class is None
    assert [fit.shift for fit in found[0].shifts] == [-4, -2, 2, 4]
    assert [fit.rows for fit in found[0].shifts] == [ROWS - 2, ROWS - 1, ROWS - 1, ROWS - 2]


@pytest.mark.parametrize("rows", [10 * np.arange(ROWS), np.arange(20)])
def test_rows_without_neighbours_say_nothing_of_a_shift(rows: np.ndarray) -> None:
    """Thinly spread rows, and too few of them; the student's column slipped by one."""
    labels, teacher, student = (part[: len(rows)] for part in pairs(0))
    student = np.roll(student, 1, axis=0)
    found = check_alignment(rows, one_hot(labels), labels, teacher, student, np.random.default_rng(0))
    assert [scan.shifts for scan in found] == [[], [], []]
    findings = good_findings(pairing={"alignment": [scan.model_dump() for scan in found]})
    _, reasons, _ = judge(findings, FDCMKDSpec())
    (reason,) = (reason for reason in reasons if reason.rule == "alignment")
    assert reason.speaks == "unclear"
