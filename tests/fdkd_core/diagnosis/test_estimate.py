"""The estimate of a job from times that are given: arithmetic alone, no clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diagnosed import small_diagnosis
from paired_arrays import in_splits, paired_dataset, without_teacher

from fdkd_core.data.table import PairedDataset
from fdkd_core.diagnosis.speed import (
    EstimateName,
    ForwardTime,
    PhaseName,
    estimate_job,
    seconds_per_step,
)
from fdkd_core.spec import TrainingSpec
from fdkd_core.spec.findings import StepSpeed

TRAININGS = {
    "teacher": TrainingSpec(epochs=3, batch_size=10),
    "student": TrainingSpec(epochs=5, batch_size=20),
    "control": TrainingSpec(epochs=5, batch_size=20),
}
FORWARD = ForwardTime(teacher_s=0.01, student_s=0.002)
EXPECTED: dict[EstimateName, float] = {
    "loading": 1.5,
    "teacher": 9.6,  # 3 epochs of 6 steps, 2 a second; after each epoch 20 rows of validation
    "teacher outputs": 0.8,  # 60 training rows and 20 without a label
    "student": 7.7,  # 5 epochs of 6 steps, 4 a second: 7.5; 20 rows after each: 0.2
    "control": 6.2,  # 5 a second: 6; and 0.2
    "testing": 0.42,  # 20 rows of validation and 10 of test, of all three: 0.014 each
}


@pytest.fixture(scope="module")
def data() -> PairedDataset:
    """100 training rows, of which the teacher sees 60, and 20 without a label, all of which it sees."""
    array = np.random.default_rng(0).normal(size=(150, 2))
    splits = {**in_splits(100, 20, 10), "unlabelled": np.arange(130, 150)}
    found = paired_dataset(array, array, np.arange(150) % 3, splits)
    return without_teacher(found, np.arange(40))


def estimated(
    data: PairedDataset, *phases: PhaseName, trainings: dict[str, TrainingSpec] = TRAININGS
) -> dict[EstimateName, float]:
    rates: dict[PhaseName, float] = {"teacher": 2.0, "student": 4.0, "control": 5.0}
    steps = {
        name: StepSpeed(
            phase=name, batch_size=1, timed_steps=1, steps_per_s=rates[name], batch_s=9.0, step_s=9.0
        )
        for name in phases
    }
    columns = {"modality": "teacher"}, {"modality": "student"}
    spec = small_diagnosis(teacher=columns[0], student=columns[1])
    return estimate_job(spec, data, steps, trainings, FORWARD, 1.5)


def test_all_parts_by_hand(data: PairedDataset) -> None:
    assert estimated(data, "teacher", "student", "control") == pytest.approx(EXPECTED)


def test_a_given_teacher_is_not_trained_but_answers(data: PairedDataset) -> None:
    expected = {name: seconds for name, seconds in EXPECTED.items() if name != "teacher"}
    assert estimated(data, "student", "control") == pytest.approx(expected)


def test_without_a_method_there_is_neither_a_control_nor_anything_asked_of_the_teacher(
    data: PairedDataset,
) -> None:
    expected = {name: EXPECTED[name] for name in EXPECTED if name not in ("control", "teacher outputs")}
    found = estimated(data, "teacher", "student")
    assert found == pytest.approx({**expected, "testing": 0.36})  # 30 rows of two models


@pytest.mark.parametrize("name", ["teacher", "student", "control"])
def test_twice_the_epochs_take_twice_the_time(name: PhaseName, data: PairedDataset) -> None:
    longer = replace_epochs(name, 2 * TRAININGS[name].epochs)
    found = estimated(data, "teacher", "student", "control", trainings=longer)
    assert found == pytest.approx({**EXPECTED, name: 2 * EXPECTED[name]})


def replace_epochs(name: str, epochs: int) -> dict[str, TrainingSpec]:
    return {**TRAININGS, name: TRAININGS[name].model_copy(update={"epochs": epochs})}


def test_more_rows_take_more_steps(data: PairedDataset) -> None:
    splits = {**data.splits, "train": np.arange(40, 90)}
    found = estimated(replace(data, splits=splits), "teacher", "student", "control")
    changed: dict[EstimateName, float] = {
        "teacher": 3 * 5 / 2 + 0.6, "teacher outputs": 0.7,
        "student": 5 * 4 / 4 + 0.2, "control": 5 * 4 / 5 + 0.2,
    }  # fmt: skip
    assert found == pytest.approx({**EXPECTED, **changed})


def test_a_cpu_makes_batches_and_steps_in_turn_and_a_gpu_at_once() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert seconds_per_step(0.02, 0.05, cpu) == pytest.approx(0.07)
    assert seconds_per_step(0.08, 0.05, cpu) == pytest.approx(0.13)
    assert seconds_per_step(0.02, 0.05, gpu) == 0.05
    assert seconds_per_step(0.08, 0.05, gpu) == 0.08
    assert seconds_per_step(0.0, 0.0, gpu) > 0.0  # a clock that did not move
