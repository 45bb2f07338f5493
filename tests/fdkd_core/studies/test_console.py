"""What a terminal shows of figures that are better where they are smaller."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console
from study_samples import compare_spec, model_result, study_result

from fdkd_core.spec.auto_result import AutoConfiguration, AutoFinalist, AutoReport
from fdkd_core.spec.figures import Estimate
from fdkd_core.studies.conclusion import Outcome, conclude
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
    show_search(Console(width=80, file=text), report, Path("out"))
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


def comparison(**changes: Any) -> str:
    """A terminal's text of three arms with figures and one without, whose trainings took two hours."""
    spec = compare_spec()
    values = {"no_teacher": [0.8, 0.81, 0.79], "logit_kd": [0.84, 0.86, 0.83], "fd_cmkd": [0.84, 0.93, 0.8]}
    outcomes: dict[str, Outcome] = {label: study_result(label, spec, v) for label, v in values.items()}
    outcomes["fd_cmkd shuffled_pairs"] = "diverged: x"
    identity = {"spec": "1" * 64, "data": "2" * 64}
    result = conclude(spec, outcomes, model_result(0.9), identity=identity, seconds=1.0)
    arms = [arm.model_copy(update={"seconds": 7265.0}) for arm in result.arms]
    text = io.StringIO()
    show_comparison(
        Console(width=80, file=text), result.model_copy(update={"arms": arms, **changes}), Path("out")
    )
    return text.getvalue()


def test_an_arm_has_its_p_its_share_of_the_gap_and_its_time_in_80_columns() -> None:
    text = comparison()
    assert "…" not in text
    rows = [line.split() for line in text.splitlines()]
    assert ["lr", "val", "test", "to", "control", "p", "gap", "time"] in rows
    assert ["no_teacher", "0.1", "80.0", "80.0", "the", "control", "2h", "01m"] in rows
    # Twice the p of the paired t-test: there are two methods.
    assert ["logit_kd", "0.1", "84.3", "84.3", "+4.3", "±1.4", "0.012", "43%", "helps", "2h", "01m"] in rows
    assert ["fd_cmkd", "failed"] in rows
    assert "adjusted for their number (Holm)" in text


def test_figures_in_a_unit_of_the_data_leave_no_room_for_the_gap() -> None:
    text = comparison(metric="rmse", teacher=None)
    assert "…" not in text
    assert "gap" not in text
    assert all(word in text for word in ("+0.04333 ±0.01434", "0.012", "no evidence", "2h 01m"))
