"""How often each kind of job lets a network answer the test rows: once per model that is reported.

What is counted is not who asks for figures but what goes through a network: every batch of rows that is
answered, for figures or for the teacher's outputs, by the phase of the job in which it is.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_job import small_comparison, small_spec, small_study, write_small_data

from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.training import evaluation

AUTO = {
    "name": "auto", "trials": 4, "seeds": 2, "finalists": 1, "folds": 3,
    "methods": [{"name": "logit_kd", "temperature": 2.0}],
}  # fmt: skip
JUDGED_BEFORE = {"rung0-3", "rung1-1", "fold0-1", "fold0-2", "fold0-3", "fold1-1", "fold1-2", "fold1-3"}
"""Trainings of that search by which something is decided; few of many rungs."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small.npz")


def reads(spec: Any, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], set[str]]:
    """How often test rows were answered in each phase, and all phases in which any rows were."""
    with np.load(data) as arrays:
        test_rows = np.flatnonzero(arrays["split"] == "test")
    phase, found, seen = "none", Counter[str](), set[str]()
    forward = evaluation._forward

    def counted(model: Any, modality: Any, rows: Any, device: Any) -> Any:
        seen.add(phase)
        if np.isin(rows, test_rows).any():
            assert np.array_equal(rows, test_rows)  # whole, or not at all
            found[phase] += 1
        return forward(model, modality, rows, device)

    def follow(event: dict[str, Any]) -> None:
        nonlocal phase
        if event["event"] == "phase_started":
            phase = event["phase"]

    monkeypatch.setattr(evaluation, "_forward", counted)
    run(spec, data, out, options=RunOptions(device="cpu", threads=1), on_event=follow)
    return found, seen


def test_a_study_reads_it_once_for_the_teacher_and_each_final_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, seen = reads(small_study(), data, tmp_path / "out", monkeypatch)
    assert found == {"teacher": 1, "seed-1": 1, "seed-2": 1}
    assert seen > {"trial-0", "trial-1", "trial-2"}


def test_a_comparison_does_for_its_teacher_and_each_final_run_of_each_arm(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, seen = reads(small_comparison(), data, tmp_path / "out", monkeypatch)
    assert found == {"teacher": 1, **{f"arm{arm}-seed-{seed}": 1 for arm in range(3) for seed in (1, 2)}}
    assert seen > {f"arm{arm}-trial-{number}" for arm in range(3) for number in range(2)}


def test_a_job_does_for_teacher_student_and_control_after_all_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, seen = reads(small_spec(), data, tmp_path / "out", monkeypatch)
    assert found == {"finalise": 3}
    assert seen == {"teacher", "student", "control", "finalise"}


def test_a_search_does_for_each_final_run_and_again_for_what_it_hands_over(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The student and the control are models of final runs, whose figures are taken anew with the teacher's.

    Nothing is left to decide then. Folds are judged on training rows that they held out.
    """
    training = small_spec().training.model_dump(mode="json") | {"epochs": 4}  # the fewest with two rungs
    found, seen = reads(small_spec(method=AUTO, training=training), data, tmp_path / "out", monkeypatch)
    finals = {f"final{place}-{number}": 1 for place in range(2) for number in (1, 2)}
    assert found == {**finals, "finalise": 3}
    assert seen > JUDGED_BEFORE
