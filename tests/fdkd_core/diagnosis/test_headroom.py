from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from paired_arrays import in_splits, paired_dataset

from fdkd_core.data.table import TargetScale
from fdkd_core.diagnosis.headroom import Answers, compare_modalities, detectable_gain
from fdkd_core.diagnosis.tasks import diagnosed
from fdkd_core.spec.findings import HeadroomFindings
from fdkd_core.spec.tasks import RegressionSpec
from fdkd_core.tasks.classification import Classification, macro_f1
from fdkd_core.tasks.regression import Regression


def answers(labels: np.ndarray, *right: tuple[str, str, int]) -> list[Answers]:
    """Views that are right on their first rows and wrong on the others."""
    found = []
    for part, view, count in right:
        predicted = (labels + 1) % 4
        predicted[:count] = labels[:count]
        found.append(Answers(part, view, np.eye(4)[predicted]))  # type: ignore[arg-type]
    return found


def compared(views: list[Answers], labels: np.ndarray, **changes: Any) -> HeadroomFindings:
    fields: dict[str, Any] = {"metric": "accuracy", "chance": 0.25, "has_teacher": True, "test_rows": 400}
    return compare_modalities(views, Classification(), labels, **{**fields, **changes})


def test_a_lead_on_one_of_two_speakers_is_uncertain() -> None:
    """The teacher is right on the first 70 rows, the student on 40: all the lead is before row 70."""
    labels = np.arange(100) % 4
    views = answers(labels, ("teacher", "network", 70), ("student", "network", 40))
    voices = (np.arange(100) >= 70).astype(np.int64)
    by_rows, by_voice = compared(views, labels), compared(views, labels, groups_N=voices)
    assert by_rows.gap == by_voice.gap == pytest.approx(0.3)
    assert by_rows.standard_error == pytest.approx(np.sqrt(0.3 * 0.7 / 99))
    # Deviations: 30 of .7 and 40 of -.3 add up to 9 on the first voice, to -9 on the second.
    assert by_voice.standard_error == pytest.approx(np.sqrt(2 * (9**2 + 9**2)) / 100)
    assert (by_rows.groups, by_voice.groups) == (None, 2)


def test_rows_of_one_label_are_known_for_what_they_are() -> None:
    labels = np.zeros(100, np.int64)
    assert compared(
        answers(labels, ("teacher", "network", 70), ("student", "network", 40)), labels
    ).is_one_label
    labels = np.arange(100) % 4
    views = answers(labels, ("teacher", "network", 70), ("student", "network", 40))
    assert not compared(views, labels).is_one_label


def test_the_teacher_as_it_teaches_is_held_against_the_best_of_the_student() -> None:
    labels = np.arange(100) % 4
    views = answers(
        labels,
        ("teacher", "network", 70), ("teacher", "features", 90), ("student", "network", 40),
        ("student", "inputs", 55),
    )  # fmt: skip
    seen = {has_teacher: compared(views, labels, has_teacher=has_teacher) for has_teacher in (True, False)}
    assert (seen[True].teacher, seen[False].teacher, seen[True].student) == (0.7, 0.9, 0.55)
    assert seen[True].gap == pytest.approx(0.15)
    assert seen[True].expected_gain == pytest.approx(0.015)
    assert seen[True].chance == 0.25
    # Rows 55 to 69 tell the two apart: a binomial share of 0.15 over 100 rows.
    assert seen[True].standard_error == pytest.approx(math.sqrt(0.15 * 0.85 / 99))
    assert seen[True].teacher_error == pytest.approx(math.sqrt(0.7 * 0.3 / 99))
    assert seen[True].detectable_gain == pytest.approx(2.8 * math.sqrt(0.55 * 0.45 / 400))
    assert [(p.part, p.view, p.accuracy) for p in seen[True].probes][:2] == [
        ("teacher", "network", 0.7),
        ("teacher", "features", 0.9),
    ]
    assert seen[True].probes[0].figures.keys() == {"accuracy", "macro_f1"}


def test_macro_f1_is_fair_to_rare_classes() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    views = [Answers("teacher", "network", np.eye(2)[labels])]
    views.append(Answers("student", "inputs", np.eye(2)[np.zeros(100, dtype=int)]))
    found = compared(views, labels, metric="macro_f1", test_rows=100)
    assert found.student == pytest.approx(0.5 * 180 / 190)
    assert found.probes[1].accuracy == 0.9


def test_chance_is_the_most_frequent_class_and_a_probe_learns_on_some_rows() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 200, p=[0.6, 0.3, 0.1])
    x = 3 * rng.normal(size=(3, 5))[labels] + rng.normal(size=(200, 5))
    data = paired_dataset(x, x, labels, in_splits(100, 60, 40))
    task, fitted, asked = diagnosed(data), np.arange(100), np.arange(100, 160)
    assert task.chance("accuracy", fitted, asked) == pytest.approx((labels[asked] == 0).mean())
    # Macro-F1 is best guessed by drawing classes as often as they occur: here by two thousand draws.
    rates = np.bincount(labels[fitted]) / 100
    drawn = [macro_f1(rng.choice(3, 60, p=rates), labels[asked]) for _ in range(2000)]
    assert task.chance("macro_f1", fitted, asked) == pytest.approx(np.mean(drawn), abs=0.01)
    found = task.probe(x[fitted], fitted, x[asked], rng, "accuracy")
    assert (found.argmax(axis=1) == labels[asked]).mean() > 0.9


def test_the_detectable_gain_shrinks_with_the_root_of_the_test_rows() -> None:
    assert detectable_gain(0.5, 2500) == pytest.approx(2.8 * 0.5 / 50)
    assert detectable_gain(0.5, 10_000) == pytest.approx(2.8 * 0.5 / 100)


def test_where_all_are_right_one_more_mistake_is_what_can_be_seen() -> None:
    labels = np.arange(100) % 4
    views = answers(labels, ("teacher", "network", 100), ("student", "network", 100))
    assert compared(views, labels, test_rows=100).detectable_gain == pytest.approx(2.8 / 100)


def test_a_teacher_with_a_smaller_error_is_ahead() -> None:
    scale = TargetScale(("height",), np.array([100.0]), np.array([10.0]))
    labels = np.random.default_rng(0).normal(size=(50, 1)).astype(np.float32)
    views = [Answers("teacher", "network", labels + 0.1), Answers("student", "inputs", labels + 0.4)]
    views.append(Answers("student", "network", labels + 0.3))
    found = compare_modalities(
        views, Regression(RegressionSpec(), scale), labels,
        metric="rmse", chance=10.0, has_teacher=True, test_rows=100,
    )  # fmt: skip
    assert (found.teacher, found.student, found.gap) == pytest.approx((1.0, 3.0, 2.0), rel=1e-5)
    assert found.expected_gain == pytest.approx(0.2, rel=1e-5)
    assert (found.probes[0].accuracy, found.probes[0].figures["mae"]) == (None, pytest.approx(1.0, rel=1e-5))
    assert found.standard_error == pytest.approx(0.0, abs=1e-5)  # all errors are equal
