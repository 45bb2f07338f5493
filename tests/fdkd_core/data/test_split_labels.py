"""Splits whose labels tell no model from another are told of before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from task_data import write_task_data

from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.labels import LabelIndex
from fdkd_core.data.split_labels import alike_labels
from fdkd_core.data.table import Split
from fdkd_core.spec.tasks import LabelForm, MultilabelSpec, RetrievalSpec, TaskSpec

ROWS: dict[Split, np.ndarray] = {"train": np.arange(2), "val": np.arange(2, 5), "test": np.arange(5, 8)}
VOID_MASK, MASK = np.full((2, 2), 255), np.zeros((2, 2))


@pytest.mark.parametrize(
    ("form", "task", "values", "words"),
    [
        ("class", None, [0, 1, 1, 1, 1, 0, 1, 0], ["all rows of val are of one class"]),
        ("class", None, [0, 1, 0, 1, 1, 0, 1, 0], []),
        ("class", RetrievalSpec(), [0, 1, 0, 1, 1, 0, 0, 0], ["all rows of test are of one label"]),
        ("identity", None, [0, 1, 2, 3, 4, 5, 5, 6], ["no two rows of val are of one label"]),
        ("classes", None, [[1, 0], [0, 1]] * 2 + [[1, 1]] + [[0, 0]] * 3, ["no row of test has any class"]),
        (
            "numbers",
            None,
            [[1], [2]] + [[3]] * 3 + [[1], [2], [2]],
            ["all rows of val have the same numbers"],
        ),
        ("mask", None, [MASK] * 3 + [VOID_MASK] * 5, ["no mask of test has a labelled pixel"]),
    ],
)
def test_what_is_said(form: LabelForm, task: TaskSpec | None, values: Any, words: list[str]) -> None:
    told = alike_labels(LabelIndex(["a", "b"], np.array(values), []), form, task, ROWS)
    assert [sentence.partition(":")[0] for sentence in told] == words


def test_it_stands_in_the_report(tmp_path: Path) -> None:
    path = write_task_data(tmp_path / "rare.npz", "multilabel")
    with np.load(path) as found:
        arrays = dict(found)
    task = MultilabelSpec()
    assert load_dataset(path, ["clean"], task=task).report["warnings"] == []
    arrays["label"][arrays["split"] == "val"] = 0
    np.savez(path, **arrays)
    assert load_dataset(path, ["clean"], task=task).report["warnings"] == [
        "no row of val has any class: there mAP and F1 are 0 of any model"
    ]
