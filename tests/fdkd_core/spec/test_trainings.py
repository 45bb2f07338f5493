"""What a job is said to cost before it is posted is what it then does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from small_job import small_comparison, small_spec, small_study, write_small_data

from fdkd_core.data.dataset import load_dataset
from fdkd_core.run import runner_of
from fdkd_core.spec import AnyJobSpec, AutoSpec, DistillSpec, load_spec
from fdkd_core.spec.trainings import student_trainings, teacher_trainings
from fdkd_core.studies.study import student_steps

TEN_EPOCHS = {"epochs": 10, "batch_size": 16}


def auto(**changes: Any) -> DistillSpec:
    method = {"name": "auto", "folds": None, **changes}
    return small_spec(method=method, training=TEN_EPOCHS)


JOBS: list[tuple[AnyJobSpec, int]] = [
    (small_spec(), 2),
    (small_spec(controls={"no_teacher": False}), 1),
    (small_spec(method={"name": "none"}), 1),
    (small_study(), 5),
    (small_comparison(), 3 * (2 + 2)),
    (small_comparison(methods=[{"name": "pkd"}, {"name": "none"}], fake_teachers=[]), 2 * (2 + 2)),
    # 20 of 2 epochs, 10 of 5 epochs, 3 times 3 of 10 epochs
    (auto(), math.ceil((20 * 2 + 10 * 5) / 10) + 9),
    (auto(trials=7, finalists=1, seeds=2), math.ceil((5 * 2 + 3 * 5) / 10) + 4),
    (auto(trials=10, folds=3), math.ceil((10 * 2 + 5 * 5) / 10) + 9 + 9),
]


@pytest.mark.parametrize(("spec", "expected"), JOBS)
def test_students(spec: AnyJobSpec, expected: int, tmp_path: Path) -> None:
    assert student_trainings(spec) == expected
    assert teacher_trainings(spec) == 1
    data = load_dataset(write_small_data(tmp_path / "small.npz"), None)
    planned = runner_of(spec).plan(spec, data, is_teacher_given=False)
    students = [phase for phase in planned if phase["name"] != "teacher"]
    assert len(planned) == len(students) + 1
    steps = sum(phase["total_steps"] for phase in students) / student_steps(spec, data)
    if isinstance(spec, DistillSpec) and isinstance(spec.method, AutoSpec) and spec.method.folds:
        steps = expected  # those of folds have fewer rows
    assert math.ceil(steps) == expected


def test_folds_that_the_data_decide_are_counted() -> None:
    assert student_trainings(auto(folds="auto")) == student_trainings(auto(folds=5)) == 18 + 15


def test_teachers() -> None:
    given = {"modality": "clean", "model": "mdl_1"}
    trained = {"modality": "clean"}
    assert teacher_trainings(small_spec(teacher=given)) == 0
    assert teacher_trainings(small_spec(teacher=given, more_teachers=[trained])) == 1
    assert teacher_trainings(small_spec(more_teachers=[trained])) == 2
    shared = small_spec().model_dump(mode="json", include={"dataset", "task", "teacher", "student"})
    diagnosis = load_spec({"kind": "diagnose", **shared})
    assert (student_trainings(diagnosis), teacher_trainings(diagnosis)) == (0, 0)
    shared.pop("teacher")
    training = load_spec({"kind": "train", **shared})
    assert (student_trainings(training), teacher_trainings(training)) == (1, 0)
