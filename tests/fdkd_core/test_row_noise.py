"""Rows of one speaker are not independent, and figures say so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundle_samples import result as model_result
from small_job import small_spec, write_small_data

from fdkd_client.cli.run_view import uplift_text
from fdkd_client.figures import UpliftFigures
from fdkd_core.options import RunOptions
from fdkd_core.row_noise import RowNoise, row_noise
from fdkd_core.run import run
from fdkd_core.spec import GateSpec, MLPSpec
from fdkd_core.spec.measures import MEASURES
from fdkd_core.spec.result import RunResult
from fdkd_core.spec.uplift import half_width_of, noise_words
from fdkd_core.studies.decision import Scores, decide, difference
from fdkd_core.tasks.classification import Classification
from fdkd_core.uplift import measure_uplift, pass_gates


def test_independent_rows() -> None:
    shares = np.array([1.0, 0.0, 0.0, 1.0, -1.0])
    found = row_noise(shares, None)
    assert found.standard_error == pytest.approx(shares.std(ddof=1) / np.sqrt(5))
    # t of 4 degrees, 97.5 %; of 99 it is 1.98.
    assert found.half_width == pytest.approx(2.7764 * found.standard_error, rel=1e-4)
    assert found.groups is None
    many = row_noise(np.tile(shares, 20), None)
    assert many.half_width == 2.0 * many.standard_error
    assert row_noise(shares[:1], None) == RowNoise(0.0, 0.0, None)


def test_groups_by_hand() -> None:
    """Mean 1/2. Deviations by group: 1 + 1/2 = 3/2, -1/2 + 0 = -1/2, -1. Their squares sum to 7/2."""
    shares, groups = np.array([1.5, 1.0, 0.0, 0.5, -0.5]), np.array([4, 4, 0, 0, 7])
    found = row_noise(shares, groups)
    assert found.groups == 3
    assert found.standard_error == pytest.approx(np.sqrt(3 / 2 * 7 / 2) / 5)
    assert found.half_width == pytest.approx(
        4.3027 * found.standard_error, rel=1e-4
    )  # t of 2 degrees, 97.5 %


def test_groups_of_one_row_are_independent_rows() -> None:
    shares = np.random.default_rng(0).normal(size=50)
    found = row_noise(shares, np.arange(50))
    assert found.standard_error == pytest.approx(shares.std(ddof=1) / np.sqrt(50))


def test_few_groups_that_happen_to_agree_are_no_proof() -> None:
    shares = np.array([1.0, -1.0, 1.0, -1.0])
    found = row_noise(shares, np.array([0, 0, 1, 1]))
    assert found.standard_error == pytest.approx(1.0 / np.sqrt(3))


def test_one_group_says_nothing_of_another() -> None:
    found = row_noise(np.array([1.0, 0.0]), np.array([3, 3]))
    assert (found.half_width, found.groups) == (None, 1)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """200 splits of 8 speakers whose rows share most of what moves them; the true mean is 0."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 40)
    held = {"clustered": 0, "independent": 0}
    for _ in range(200):
        shares = rng.normal(size=8)[groups] + rng.normal(size=320)
        for name, found in (
            ("clustered", row_noise(shares, groups)),
            ("independent", row_noise(shares, None)),
        ):
            assert found.half_width is not None
            held[name] += abs(shares.mean()) <= found.half_width
    assert held["clustered"] >= 0.91 * 200  # .935
    assert held["independent"] < 0.4 * 200  # .325


def answers(right: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.eye(2, dtype=np.float32)[np.where(right, labels, 1 - labels)]


def test_a_gain_on_one_of_three_speakers_is_not_significant() -> None:
    labels, groups = np.tile([0, 1], 150), np.repeat([0, 1, 2], 100)
    control, student = np.ones(300, bool), np.ones(300, bool)
    control[:60] = False  # on the first speaker alone
    models = {role: model_result("m", MLPSpec(), 0.5) for role in ("teacher", "student", "control")}
    models["student"] = models["student"].model_copy(
        update={"test": models["student"].test.model_copy(update={"accuracy": 0.7})}
    )
    gate = [GateSpec(significant=True)]
    given = (Classification(), models, labels, answers(student, labels), answers(control, labels))
    by_rows, by_groups, one_voice = (
        measure_uplift(*given, found, learned=labels) for found in (None, groups, np.zeros(300, np.int64))
    )
    assert pass_gates(gate, by_rows)[0].passed
    assert not pass_gates(gate, by_groups)[0].passed
    assert not pass_gates(gate, one_voice)[0].passed
    assert "over 3 groups)" in pass_gates(gate, by_groups)[0].sentence
    assert "(noise unknown: one group)" in pass_gates(gate, one_voice)[0].sentence
    # Without `significant` a gate asks for the figure alone.
    assert pass_gates([GateSpec()], one_voice)[0].passed
    read = UpliftFigures.model_validate(by_groups.model_dump())
    assert half_width_of(read.main) == by_groups.noise
    assert "within the noise of this test split" in uplift_text(read, MEASURES["accuracy"])
    assert "over its 3 groups" in uplift_text(read, MEASURES["accuracy"])
    assert "all test rows are of one group" in uplift_text(
        UpliftFigures.model_validate(one_voice.model_dump()), MEASURES["accuracy"]
    )


def test_results_of_earlier_releases_have_two_standard_errors() -> None:
    old = UpliftFigures(test_accuracy=0.05, standard_error=0.02)
    assert half_width_of(old.main) == pytest.approx(0.04)
    assert noise_words(MEASURES["accuracy"], 0.05, 0.04, None) == (
        "more than the noise of this test split (±4.0; one seed)"
    )


def test_a_student_that_is_the_control_is_not_compared_with_noise() -> None:
    words = noise_words(MEASURES["accuracy"], 0.0, 0.0, None)
    assert words == "no test row tells student and control apart by it"
    assert "±" not in words
    assert words in uplift_text(UpliftFigures(test_accuracy=0.0, standard_error=0.0), MEASURES["accuracy"])
    assert "within the noise" in noise_words(MEASURES["accuracy"], 0.0, 0.01, None)


def test_rows_that_all_say_the_same_are_no_proof() -> None:
    """Two rows that the student alone gets right: a gain of 100 points, and nothing to tell its noise by."""
    labels = np.array([0, 1])
    models = {role: model_result("m", MLPSpec(), 0.5) for role in ("teacher", "student", "control")}
    for role, share in (("student", 1.0), ("control", 0.0)):
        test = models[role].test.model_copy(update={"accuracy": share})
        models[role] = models[role].model_copy(update={"test": test})
    right = np.ones(2, bool)
    found = measure_uplift(
        Classification(), models, labels, answers(right, labels), answers(~right, labels), learned=labels
    )
    main = found.gains[0]
    assert (main.test, half_width_of(main)) == (1.0, 0.0)
    asked, plain = pass_gates([GateSpec(significant=True), GateSpec()], found)
    assert (asked.passed, plain.passed) == (False, True)
    assert "+100.0 points (noise unknown: every test row says the same)" in asked.sentence
    words = noise_words(MEASURES["accuracy"], main.test, 0.0, None)
    assert words == "of unknown noise, since every test row says the same (one seed)"
    assert "[bold yellow]" in uplift_text(
        UpliftFigures.model_validate(found.model_dump()), MEASURES["accuracy"]
    )


def test_a_search_asks_more_of_a_gain_on_one_speaker() -> None:
    rows = np.arange(200)
    control = Scores("no_teacher", [0.5, 0.5], [(rows >= 100).astype(float)] * 2)
    method = Scores("kd", [0.6, 0.6], [(rows >= 80).astype(float)] * 2)
    by_voice = [replace(found, groups=rows // 50) for found in (control, method)]
    assert decide([control, method], "accuracy")[0] == 1
    assert difference(by_voice[1], by_voice[0]).standard_error == pytest.approx(0.1)
    assert decide(by_voice, "accuracy")[0] == 0


@pytest.mark.parametrize("speakers", [None, 1, 4])
def test_a_job_on_data_with_a_column_group(tmp_path: Path, speakers: int | None) -> None:
    path = write_small_data(tmp_path / "small.npz")
    with np.load(path) as found:
        arrays = dict(found)
    if speakers is not None:
        number = np.arange(len(arrays["split"])) % speakers
        arrays["group"] = np.array(
            [f"{split}-{voice}" for split, voice in zip(arrays["split"], number, strict=True)]
        )
        np.savez(path, **arrays)
    result = run(small_spec(), path, tmp_path / "out", options=RunOptions(device="cpu", threads=1))
    assert isinstance(result, RunResult)
    assert result.uplift is not None
    kept = json.loads((tmp_path / "out" / "result.json").read_text())["uplift"]
    assert kept["groups"] == speakers
    assert (kept["noise"] is None) == (speakers == 1)
    card = (tmp_path / "out" / "student" / "README.md").read_text()
    assert ("over its 4 groups" in card) == (speakers == 4)
    assert ("All test rows are of one group" in card) == (speakers == 1)
