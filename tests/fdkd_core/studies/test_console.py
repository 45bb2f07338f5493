"""What a terminal shows of figures that are better where they are smaller."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from study_samples import compare_spec, model_result, study_result

from fdkd_core.spec.auto_result import AutoConfiguration, AutoFinalist, AutoReport
from fdkd_core.spec.figures import Estimate
from fdkd_core.studies.conclusion import conclude
from fdkd_core.studies.console import show_comparison, show_search


def search(folds: list[float]) -> AutoReport:
    """By the loss, which is 0.4321 of both finalists; in a report larger is better, also of errors."""
    same = Estimate(mean=0.8, low=0.8, high=0.8)
    finalists = [
        AutoFinalist(
            number=number,
            label=label,
            runs=[],
            val=-0.4321,
            val_difference=None if label == "no_teacher" else 0.05,
            val_standard_error=None if label == "no_teacher" else 0.01,
            folds=folds,
            test=same,
            test_difference=None,
        )
        for number, label in enumerate(("no_teacher", "logit_kd"))
    ]
    tried = [
        AutoConfiguration(number=f.number, label=f.label, method={}, lr=0.1, parameters={}, rungs=[])
        for f in finalists
    ]
    return AutoReport(
        select_by="loss", configurations=tried, finalists=finalists, winner=1, winner_label="logit_kd",
        reason="", cut_short=False,
    )  # fmt: skip


def shown(report: AutoReport) -> str:
    text = io.StringIO()
    show_search(Console(width=80, file=text), report)
    return text.getvalue()


def test_errors_are_shown_as_they_are() -> None:
    text = shown(search([]))
    assert " 0.432 " in text
    assert "-0.432" not in text
    assert "to control" in text


def test_a_difference_over_folds_is_not_said_to_be_that_of_the_column_before_it() -> None:
    text = shown(search([-0.4, -0.5]))
    assert "by folds" in text
    assert "to control" not in text


def test_differences_of_errors_are_said_to_be_turned() -> None:
    spec = compare_spec()
    values = {"no_teacher": [0.8, 0.81, 0.79], "logit_kd": [0.84, 0.86, 0.83]}
    outcomes = {
        label: study_result(label, spec, values.get(label, [0.8, 0.8, 0.8]))
        for label in ("no_teacher", "logit_kd", "fd_cmkd", "fd_cmkd shuffled_pairs")
    }
    result = conclude(
        spec, outcomes, model_result(0.9), identity={"spec": "1" * 64, "data": "2" * 64}, seconds=1.0
    )
    for metric, is_said in (("accuracy", False), ("rmse", True)):
        told = result.model_copy(update={"metric": metric, "teacher": None})
        text = io.StringIO()
        show_comparison(Console(width=80, file=text), told, Path("out"))
        assert ("differences to the control: test RMSE, turned" in text.getvalue()) == is_said
