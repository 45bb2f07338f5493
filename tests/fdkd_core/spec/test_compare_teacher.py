from __future__ import annotations

from typing import Any

import pytest
from study_samples import compare_spec

from fdkd_core.spec import TrainingSpec
from fdkd_core.spec.compare import teacher_job, teacher_training

STATED = {"epochs": 7, "batch_size": 32, "seed": 5}


@pytest.mark.parametrize("train", [None, STATED], ids=["left out", "stated"])
@pytest.mark.parametrize("seed", [0, 11])
def test_the_teacher_is_trained_as_stated_but_for_the_seed(train: dict[str, Any] | None, seed: int) -> None:
    """The seed cuts the validation rows too, where the data have none."""
    teacher = {**compare_spec().teacher.model_dump(mode="json"), "train": train}
    spec = compare_spec(teacher=teacher, training={"epochs": 3, "seed": seed})
    job = teacher_job(spec)
    assert job is not None
    for training in (teacher_training(spec), job.training):
        assert training.seed == spec.training.seed == seed
        stated = TrainingSpec.model_validate(train or {})
        assert (training.epochs, training.batch_size) == (stated.epochs, stated.batch_size)
