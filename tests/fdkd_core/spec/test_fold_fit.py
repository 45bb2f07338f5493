"""How many folds the rows allow: the same is said of a report and of the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_job import small_spec, write_small_data
from unlabelled_data import take_labels

from fdkd_core.data.dataset import load_dataset
from fdkd_core.errors import IncompatibleError
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import AnyJobSpec
from fdkd_core.spec.compatibility import check
from fdkd_core.studies.fold_scores import Folds

LABELLED = 16
GROUPS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 training rows without groups, of which 16 have a label."""
    folder = tmp_path_factory.mktemp("data")
    return take_labels(folder / "few.npz", write_small_data(folder / "small.npz"), kept=LABELLED)


def spec_of(folds: int) -> AnyJobSpec:
    method = {"name": "auto", "trials": 2, "seeds": 2, "methods": [{"name": "logit_kd"}], "folds": folds}
    return small_spec(method=method)


@pytest.mark.parametrize("folds", [LABELLED + 1, 20])
def test_more_folds_than_rows_with_a_label_are_refused_when_posted_and_when_run(
    folds: int, data: Path, tmp_path: Path
) -> None:
    """Else some of them would be judged by no row at all, after most of the job is done."""
    spec, loaded = spec_of(folds), load_dataset(data, ["clean", "wave"])
    (problem,) = check(spec, loaded.report)
    assert (problem.code, problem.pointer) == ("dataset_too_small", "/method/folds")
    assert problem.detail == f"{folds} folds need a training row with a label each; there are {LABELLED}"
    with pytest.raises(IncompatibleError) as caught:
        Folds(loaded, folds, spec.training).check()
    assert caught.value.problems == (problem,)
    with pytest.raises(IncompatibleError) as caught:
        run(spec, data, tmp_path / "out", options=RunOptions(device="cpu", threads=1))
    assert caught.value.problems == (problem,)
    assert not (tmp_path / "out").exists()


def test_as_many_folds_as_rows_with_a_label_are_made(data: Path) -> None:
    spec, loaded = spec_of(LABELLED), load_dataset(data, ["clean", "wave"])
    assert check(spec, loaded.report) == []
    folds = Folds(loaded, LABELLED, spec.training)
    folds.check()
    assert [int(is_out.sum()) for is_out in folds.parts] == [1] * LABELLED


def test_more_folds_than_groups_are_one_for_each_group(data: Path, tmp_path: Path) -> None:
    """However few of their rows have a label."""
    with np.load(data) as found:
        arrays = dict(found)
    arrays["group"] = np.arange(len(arrays["label"])) % GROUPS
    np.savez(tmp_path / "grouped.npz", **arrays)
    spec, loaded = spec_of(20), load_dataset(tmp_path / "grouped.npz", ["clean", "wave"])
    assert check(spec, loaded.report) == []
    folds = Folds(loaded, 20, spec.training)
    folds.check()
    assert len(folds.parts) == GROUPS
