"""Pairs without a label: how they are read, and what students with and without a teacher train on."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.splits import cut_validation, read_splits, shared_groups
from fdkd_core.data.table import PairedDataset
from fdkd_core.data.unlabelled import answered, as_trained, evened, with_stand_ins
from fdkd_core.errors import DatasetError

NUM_LABELLED, NUM_UNLABELLED = 30, 50
SPLITS = ["train"] * NUM_LABELLED + ["unlabelled"] * NUM_UNLABELLED + ["val"] * 20 + ["test"] * 20
LABELS = [("cat", "dog", "fox")[row % 3] for row in range(len(SPLITS))]


def cells(labels: list[Any], splits: list[str] | None = None) -> list[dict[str, Any]]:
    return [
        {"id": f"row{row}", "split": split, "label": label, "a": f"one {row}", "b": f"two {row}"}
        for row, (label, split) in enumerate(zip(labels, splits or SPLITS, strict=True))
    ]


def write(folder: Path, form: str, rows: list[dict[str, Any]]) -> Path:
    if form == "jsonl":
        (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder
    if form == "csv":
        with (folder / "manifest.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return folder
    path = folder / f"data.{form}"
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    if form == "parquet":
        pq.write_table(pa.table(columns), path)
    else:
        np.savez(path, **{name: np.array(column) for name, column in columns.items()})
    return path


def hidden(value: Any) -> list[Any]:
    """The labels with something else where there should be none."""
    return [value if split == "unlabelled" else label for label, split in zip(LABELS, SPLITS, strict=True)]


@pytest.mark.parametrize("value", ["", "7", "owl", "nan", "-1"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "npz", "parquet"])
def test_the_cell_of_a_row_without_a_label_is_not_read(form: str, value: str, tmp_path: Path) -> None:
    data = load_dataset(write(tmp_path, form, cells(hidden(value))), ["b"])
    assert data.classes == ["cat", "dog", "fox"]
    assert data.unlabelled.tolist() == list(range(NUM_LABELLED, NUM_LABELLED + NUM_UNLABELLED))
    assert data.splits["train"].tolist() == list(range(NUM_LABELLED))
    assert data.report["splits"]["unlabelled"] == {"rows": NUM_UNLABELLED, "classes": {}}
    assert data.report["splits"]["train"]["classes"] == {"cat": 10, "dog": 10, "fox": 10}
    assert [data.classes[index] for index in data.labels[data.splits["test"]]] == LABELS[-20:]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_nor_is_a_null(form: str, tmp_path: Path) -> None:
    data = load_dataset(write(tmp_path, form, cells(hidden(None))), ["a", "b"])
    assert len(data.unlabelled) == NUM_UNLABELLED


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_other_row_needs_one(split: str, tmp_path: Path) -> None:
    row = SPLITS.index(split)
    labels = [*LABELS[:row], "", *LABELS[row + 1 :]]
    with pytest.raises(DatasetError) as caught:
        load_dataset(write(tmp_path, "csv", cells(labels)), ["b"])
    (problem,) = caught.value.problems
    assert (problem.code, problem.row, problem.pointer) == ("invalid_label", row + 1, "label")


def test_data_whose_rows_all_have_one_say_nothing_of_it(tmp_path: Path) -> None:
    splits = [split.replace("unlabelled", "train") for split in SPLITS]
    data = load_dataset(write(tmp_path, "csv", cells(LABELS, splits)), ["b"])
    assert set(data.report["splits"]) == {"train", "val", "test"}
    assert len(data.unlabelled) == 0
    assert data.taught_rows.tolist() == data.splits["train"].tolist()
    assert evened(data).splits["train"].tolist() == data.splits["train"].tolist()


def test_both_spellings_are_known_and_another_is_refused() -> None:
    log = ProblemLog()
    splits, lines = read_splits(["unlabelled", "unlabeled", "Unlabeled ", "nolabel"], 4, log)
    assert splits[:3] == ["unlabelled"] * 3
    assert "split 'unlabeled' is read as unlabelled (1 rows)" in lines
    with pytest.raises(DatasetError, match="train, val, test and unlabelled are allowed"):
        log.raise_if_any()


def test_a_row_without_a_label_must_have_every_modality(tmp_path: Path) -> None:
    rows = cells(hidden(""))
    rows[NUM_LABELLED]["a"] = None
    with pytest.raises(DatasetError) as caught:
        load_dataset(write(tmp_path, "parquet", rows), ["a", "b"], may_lack=["a"])
    (problem,) = caught.value.problems
    assert (problem.code, problem.row, problem.pointer) == ("invalid_values", NUM_LABELLED + 1, "a")


def test_none_of_them_is_moved_to_validation() -> None:
    ids = [str(row) for row in range(len(SPLITS))]
    splits = [split.replace("val", "train") for split in SPLITS]
    cut, _ = cut_validation(ids, splits, LABELS, seed=0)
    assert [row for row, split in enumerate(cut) if split == "unlabelled"] == [
        row for row, split in enumerate(SPLITS) if split == "unlabelled"
    ]


def test_groups_and_values_that_the_test_rows_share_are_told(tmp_path: Path) -> None:
    (line,) = shared_groups(["x", "y", "x"], ["unlabelled", "train", "test"])
    assert "both unlabelled and test" in line
    rows = cells(hidden(""))
    rows[NUM_LABELLED]["b"] = rows[-1]["b"]
    (found,) = load_dataset(write(tmp_path, "csv", rows), ["b"]).report["duplicates"]
    assert found["splits"] == ["unlabelled", "test"]


def test_a_label_of_training_stands_in() -> None:
    values = ["", "dog", "cat", "cat", "owl", "junk"]
    splits = ["unlabelled", "train", "train", "train", "test", "unlabelled"]
    assert with_stand_ins(values, splits) == ["cat", "dog", "cat", "cat", "owl", "cat"]
    assert with_stand_ins(values[1:5], splits[1:5]) == values[1:5]


@pytest.fixture
def data(tmp_path: Path) -> PairedDataset:
    return load_dataset(write(tmp_path, "csv", cells(hidden(""))), ["a", "b"])


def test_a_taught_student_has_the_teachers_answers_for_labels(data: PairedDataset) -> None:
    answers = np.arange(NUM_LABELLED + NUM_UNLABELLED) % 2
    found = as_trained(data, answers, is_evened=True)
    rows = found.splits["train"]
    assert rows.tolist() == list(range(NUM_LABELLED + NUM_UNLABELLED))
    assert found.labels[:NUM_LABELLED].tolist() == data.labels[:NUM_LABELLED].tolist()
    assert found.labels[data.unlabelled].tolist() == answers[NUM_LABELLED:].tolist()
    assert found.labels[data.splits["test"]].tolist() == data.labels[data.splits["test"]].tolist()
    assert answered(data, answers).labels is not data.labels


def test_without_a_teacher_the_labelled_rows_come_again(data: PairedDataset) -> None:
    found = as_trained(data, None, is_evened=True)
    often = Counter(found.splits["train"].tolist())
    assert sum(often.values()) == NUM_LABELLED + NUM_UNLABELLED
    assert set(often) == set(range(NUM_LABELLED))
    assert set(often.values()) == {2, 3}
    assert as_trained(data, None, is_evened=False) is data
