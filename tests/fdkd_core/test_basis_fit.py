"""A basis of a teacher that is shown in a single row is refused where the job is checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from task_data import task_spec, write_task_data

from fdkd_core.basis_fit import basis_problems
from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import IncompatibleError
from fdkd_core.options import RunOptions
from fdkd_core.run import run

PCA = {"name": "fd_cmkd", "basis": "pca"}
BOTH = {"name": "combine", "parts": [{"method": {"name": "logit_kd"}}, {"method": PCA}]}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 training rows whose labels are numbers: no class sees to it that a second row keeps its teacher."""
    return write_task_data(tmp_path_factory.mktemp("data") / "numbers.npz", "regression")


@pytest.fixture(scope="module")
def data(path: Path) -> PairedDataset:
    return load_dataset(path, ["clean", "wave"], task=task_spec("regression").task)


@pytest.mark.parametrize(
    ("method", "pointers"),
    [
        (PCA, ["/method/basis"]),
        (BOTH, ["/method/parts/1/method/basis"]),
        ({"name": "auto", "methods": [{"name": "logit_kd"}, PCA, BOTH]},
         ["/method/methods/1/basis", "/method/methods/2/parts/1/method/basis"]),
        ({"name": "fd_cmkd", "basis": "dct"}, []),
        ({**PCA, "split": False}, []),
    ],
)  # fmt: skip
def test_each_place_that_names_such_a_basis_is_told(
    method: dict[str, Any], pointers: list[str], data: PairedDataset
) -> None:
    spec = task_spec("regression", method=method, paired_fraction=0.005)  # 0.8 rows, so one
    problems = basis_problems(spec, data, [None])
    assert [problem.pointer for problem in problems] == pointers
    assert all(problem.code == "dataset_too_small" and "found 1" in problem.detail for problem in problems)
    assert basis_problems(spec.model_copy(update={"paired_fraction": 0.01}), data, [None]) == []  # two rows


@pytest.mark.parametrize(("kept", "refused"), [(1, True), (2, False)])
def test_rows_that_lack_the_teachers_modality_do_not_count(
    kept: int, refused: bool, data: PairedDataset
) -> None:
    clean = data.modalities["clean"]
    index = np.full_like(clean.index, -1)
    index[data.taught_rows[:kept]] = clean.index[data.taught_rows[:kept]]
    hidden = replace(data, modalities={**data.modalities, "clean": replace(clean, index=index)})
    spec = task_spec("regression", method=PCA)
    assert basis_problems(spec, data, [None]) == []
    assert bool(basis_problems(spec, hidden, [None])) == refused


def test_nothing_is_trained_or_written(path: Path, tmp_path: Path) -> None:
    spec, events = task_spec("regression", method=PCA, paired_fraction=0.005), []
    options = RunOptions(device="cpu", threads=1)
    with pytest.raises(IncompatibleError) as caught:
        run(spec, path, tmp_path / "out", options=options, on_event=events.append)
    assert [problem.pointer for problem in caught.value.problems] == ["/method/basis"]
    assert events == []
    assert not (tmp_path / "out").exists()
