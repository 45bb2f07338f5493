"""What a comparison trains its teacher on: never a row that its students are judged on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_job import small_comparison, small_spec, write_small_data

from fdkd_core.options import RunOptions
from fdkd_core.preparation import given_teachers, load_data, teacher_training
from fdkd_core.spec import AnyJobSpec, CompareSpec
from fdkd_core.spec.compare import arms, teacher_job

OPTIONS = RunOptions(device="cpu", threads=1)
TRAINING = small_spec().training.model_dump(mode="json")


def comparison(*, seed: int, teachers_seed: int) -> CompareSpec:
    teacher = {**small_spec().teacher.model_dump(mode="json"), "train": {**TRAINING, "seed": teachers_seed}}
    return small_comparison(training={**TRAINING, "seed": seed}, teacher=teacher)


def held_out(spec: AnyJobSpec, path: Path) -> dict[str, Any]:
    """Which rows a job does not train on, as it reads the data itself."""
    data = load_data(spec, path, given_teachers(spec, OPTIONS), OPTIONS)
    return {split: data.splits[split].tolist() for split in ("val", "test")}


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data without a validation split: each job cuts one by the seed of its training."""
    folder = tmp_path_factory.mktemp("data")
    with np.load(write_small_data(folder / "whole.npz")) as whole:
        arrays = dict(whole)
    arrays["split"][arrays["split"] == "val"] = "train"
    np.savez(folder / "uncut.npz", **arrays)
    return folder / "uncut.npz"


def test_the_job_that_trains_it_holds_out_the_rows_of_the_arms(uncut: Path) -> None:
    spec = comparison(seed=3, teachers_seed=4)
    job = teacher_job(spec)
    assert job is not None
    of_teacher = held_out(job, uncut)
    assert len(of_teacher["val"]) > 5
    for study in arms(spec, None).values():
        assert held_out(study, uncut) == of_teacher
    # Of another seed they would be others: the teacher would have learnt from rows that judge its students.
    other = teacher_job(comparison(seed=4, teachers_seed=4))
    assert other is not None
    assert held_out(other, uncut)["val"] != of_teacher["val"]


def test_within_one_process_it_is_trained_as_by_that_job() -> None:
    spec = comparison(seed=3, teachers_seed=4)
    job = teacher_job(spec)
    assert job is not None
    assert teacher_training(spec) == job.training
