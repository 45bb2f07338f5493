"""Labels of rows that are to be found, not named: training need not have seen them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.description import LabelsDescription
from fdkd_core.data.label_forms import LabelColumn, read_label_column
from fdkd_core.data.limits import Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.errors import DatasetError
from fdkd_core.spec.tasks import ClassificationSpec, RetrievalSpec

SPLITS = ["train"] * 4 + ["val", "test", "test"]
OPEN = ["b", "b", "a", "a", "z", "d", "d"]
CLOSED = ["b", "b", "a", "a", "a", "b", "a"]
MIXED = ["b", "b", "a", "a", "b", "a", "d"]


def read(values: list[str], wanted: Any, stated: Any = None) -> tuple[LabelColumn, list[str]]:
    log = ProblemLog()
    found = read_label_column(values, wanted, LabelsDescription(form=stated), log, splits=SPLITS)
    return found, [problem.code for problem in log.problems()]


@pytest.mark.parametrize(
    ("values", "wanted", "stated", "form", "problems"),
    [
        (OPEN, None, None, "identity", []),
        (OPEN, "identity", None, "identity", []),
        (CLOSED, None, None, "class", []),
        (CLOSED, "identity", None, "class", []),
        (MIXED, None, None, "class", []),
        (MIXED, "identity", None, "class", []),
        (MIXED, "identity", "identity", "identity", []),
        (CLOSED, None, "identity", "identity", []),
        (OPEN, None, "class", "class", []),
        (OPEN, "identity", "class", "class", []),
        (OPEN, "class", None, "class", []),
        (CLOSED, "class", "identity", "class", ["invalid_description"]),
        (CLOSED, "identity", "classes", "class", ["invalid_description"]),
    ],
)
def test_who_says_whether_labels_are_identities(
    values: list[str], wanted: Any, stated: Any, form: str, problems: list[str]
) -> None:
    found, noted = read(values, wanted, stated)
    assert (found.form, noted) == (form, problems)
    assert found.names == values


def test_those_of_training_come_first() -> None:
    found = read(OPEN, None)[0].index(SPLITS, None)
    assert found.classes == ["a", "b", "d", "z"]
    np.testing.assert_array_equal(found.values, [1, 1, 0, 0, 3, 2, 2])
    assert found.counts(np.arange(5, 7)) == {"a": 0, "b": 0, "d": 2, "z": 0}
    assert found.warnings == ["labels are identities, for retrieval: 2 of 4 do not occur in training"]
    assert read(CLOSED, None, "identity")[0].index(SPLITS, None).warnings == []


def test_integers_may_have_names_and_keep_their_order() -> None:
    values = ["10", "10", "2", "2", "2", "3", "3"]
    found = read(values, None, "identity")[0].index(SPLITS, [f"n{index}" for index in range(11)])
    assert found.classes == ["n2", "n10", "n3"]
    np.testing.assert_array_equal(found.values, [1, 1, 0, 0, 0, 2, 2])


@pytest.mark.parametrize(
    ("values", "limits", "code"),
    [(["a"] * 5 + ["b", "b"], Limits(), "dataset_too_small"), (OPEN, Limits(max_classes=3), "exceeds_limit")],
)
def test_too_few_and_too_many(values: list[str], limits: Limits, code: str) -> None:
    column = read(values, None, "identity")[0]
    with pytest.raises(DatasetError) as caught:
        column.index(SPLITS, None, limits)
    assert [problem.code for problem in caught.value.problems] == [code]


def arrays(path: Path, label: list[str], split: list[str], **more: Any) -> Path:
    rng = np.random.default_rng(0)
    np.savez(
        path, vector=rng.normal(size=(len(label), 3)).astype(np.float32), label=label, split=split, **more
    )
    return path


def test_a_validation_cut_takes_whole_identities(tmp_path: Path) -> None:
    label = [f"p{n // 5:02}" for n in range(120)]
    path = arrays(tmp_path / "open.npz", label, ["train"] * 100 + ["test"] * 20)
    data = load_dataset(path, None, task=RetrievalSpec(), seed=3)
    names = {split: {label[row] for row in rows} for split, rows in data.splits.items()}
    assert [len(names[split]) for split in ("train", "val", "test")] == [18, 2, 4]
    assert names["train"].isdisjoint(names["val"])
    assert data.report["validation_cut_by"] == "group"
    assert data.report["label_form"] == "identity"
    assert len(data.outputs) == 128
    groups = [f"g{n % 10}" for n in range(120)]
    path = arrays(tmp_path / "grouped.npz", label, ["train"] * 100 + ["test"] * 20, group=groups)
    data = load_dataset(path, None, task=RetrievalSpec(), seed=3)
    assert len({groups[row] for row in data.splits["val"]}) == 1


def test_a_class_that_training_lacks_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = arrays(tmp_path / "mixed.npz", ["a", "b", "d", "e"] * 10 + ["c"], ["train"] * 30 + ["test"] * 11)
    with pytest.raises(DatasetError, match=r"'c' of this test row .*labels\.form"):
        load_dataset(path, None, task=None)
    (tmp_path / "mixed.dataset.yaml").write_text("labels: {form: identity}")
    assert load_dataset(path, None, task=None).report["label_form"] == "identity"
    with pytest.raises(DatasetError, match="they are identities"):
        load_dataset(path, None, task=ClassificationSpec())


def test_identities_are_one_a_row(tmp_path: Path) -> None:
    path = tmp_path / "sets.npz"
    np.savez(path, vector=np.ones((4, 2), np.float32), label=np.eye(4, dtype=np.int64), split=["train"] * 4)
    with pytest.raises(DatasetError, match="not one-hot vectors"):
        load_dataset(path, None, task=RetrievalSpec())
