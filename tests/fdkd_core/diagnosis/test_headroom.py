from __future__ import annotations

import math

import numpy as np
import pytest

from fdkd_core.diagnosis.headroom import Answers, compare_modalities, detectable_gain, probe


def answers(labels: np.ndarray, *right: tuple[str, str, int]) -> list[Answers]:
    """Views that are right on their first rows and wrong on the others."""
    found = []
    for part, view, count in right:
        predicted = (labels + 1) % 4
        predicted[:count] = labels[:count]
        found.append(Answers(part, view, predicted))  # type: ignore[arg-type]
    return found


def test_the_teacher_as_it_teaches_is_held_against_the_best_of_the_student() -> None:
    labels = np.arange(100) % 4
    views = answers(
        labels,
        ("teacher", "network", 70), ("teacher", "features", 90), ("student", "network", 40),
        ("student", "inputs", 55),
    )  # fmt: skip
    seen = {}
    for has_teacher in (True, False):
        found = compare_modalities(
            views,
            labels,
            np.array([2, 2, 1]),
            metric="accuracy",
            has_teacher=has_teacher,
            test_rows=400,
            rng=np.random.default_rng(0),
        )
        seen[has_teacher] = found
    assert (seen[True].teacher, seen[False].teacher, seen[True].student) == (0.7, 0.9, 0.55)
    assert seen[True].gap == pytest.approx(0.15)
    assert seen[True].expected_gain == pytest.approx(0.015)
    assert seen[True].chance == 0.25
    # Rows 55 to 69 tell the two apart: a binomial share of 0.15 over 100 rows.
    assert seen[True].standard_error == pytest.approx(math.sqrt(0.15 * 0.85 / 100), rel=0.15)
    assert [(p.part, p.view, p.accuracy) for p in seen[True].probes][:2] == [
        ("teacher", "network", 0.7),
        ("teacher", "features", 0.9),
    ]


def test_macro_f1_is_fair_to_rare_classes() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    views = [Answers("teacher", "network", labels), Answers("student", "inputs", np.zeros(100, dtype=int))]
    found = compare_modalities(
        views,
        labels,
        labels,
        metric="macro_f1",
        has_teacher=True,
        test_rows=100,
        rng=np.random.default_rng(0),
    )
    assert found.student == pytest.approx(found.chance)
    assert found.student == pytest.approx(0.5 * 180 / 190)
    assert found.probes[1].accuracy == 0.9


def test_a_probe_learns_on_some_rows_and_answers_about_others() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    x = 3 * rng.normal(size=(3, 5))[labels] + rng.normal(size=(200, 5))
    found = probe("student", "inputs", x[:100], labels[:100], x[100:], 3, rng, metric="accuracy")
    assert (found.predicted == labels[100:]).mean() > 0.9


def test_the_detectable_gain_shrinks_with_the_root_of_the_test_rows() -> None:
    assert detectable_gain(0.5, 2500) == pytest.approx(2.8 * 0.5 / 50)
    assert detectable_gain(0.5, 10_000) == pytest.approx(2.8 * 0.5 / 100)
    assert detectable_gain(1.0, 100) > 0
