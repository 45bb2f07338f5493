"""Columns named as people name them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdkd_core.data.column_names import column_names
from fdkd_core.data.description import Description
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.reading import read_table
from fdkd_core.errors import DatasetError
from fdkd_core.validate import validate_dataset

ROWS: dict[str, list[Any]] = {
    "ID": [f"r{n}" for n in range(8)],
    "Split": ["train"] * 4 + ["val"] * 2 + ["test"] * 2,
    "LABEL": ["cat", "dog"] * 4,
    "Group": [f"g{n}" for n in (0, 0, 1, 1, 2, 2, 3, 3)],
    "words": [f"a thing {n}" for n in range(8)],
}
READ = [
    "the column 'ID' is read as id",
    "the column 'Split' is read as split",
    "the column 'LABEL' is read as label",
    "the column 'Group' is read as group",
]


def csv_file(folder: Path, rows: dict[str, list[Any]]) -> Path:
    lines = [",".join(rows), *(",".join(map(str, row)) for row in zip(*rows.values(), strict=True))]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return folder / "rows.csv"


def jsonl_file(folder: Path, rows: dict[str, list[Any]]) -> Path:
    lines = [json.dumps(dict(zip(rows, row, strict=True))) for row in zip(*rows.values(), strict=True)]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "rows.jsonl"


def npz_file(folder: Path, rows: dict[str, list[Any]]) -> Path:
    np.savez(folder / "rows.npz", **{name: np.array(values) for name, values in rows.items()})  # type: ignore[arg-type]
    return folder / "rows.npz"


def parquet_file(folder: Path, rows: dict[str, list[Any]]) -> Path:
    pq.write_table(pa.table(rows), folder / "rows.parquet")
    return folder / "rows.parquet"


Write = Callable[[Path, dict[str, list[Any]]], Path]
TABLES = (csv_file, jsonl_file, parquet_file)
FORMATS = (*TABLES, npz_file)


@pytest.mark.parametrize("write", FORMATS)
def test_annotations_are_known_in_any_case(tmp_path: Path, write: Write) -> None:
    table = read_table(write(tmp_path, ROWS))
    assert table.ids == ROWS["ID"]
    assert table.splits == ROWS["Split"]
    assert table.labels.names == ROWS["LABEL"]
    assert table.groups == ROWS["Group"]
    assert list(table.columns) == ["words"]
    assert table.warnings[:4] == READ


def test_the_report_says_so(tmp_path: Path) -> None:
    assert set(READ) <= set(validate_dataset(csv_file(tmp_path, ROWS))["warnings"])


@pytest.mark.parametrize("write", TABLES)
def test_two_columns_are_not_one_annotation(tmp_path: Path, write: Write) -> None:
    with pytest.raises(DatasetError) as caught:
        read_table(write(tmp_path, {**ROWS, "id": ROWS["ID"]}))
    (problem,) = caught.value.problems
    assert problem.code == "invalid_values"
    assert "'ID' and 'id' would both be the id of a row" in problem.detail


def test_nor_are_two_arrays(tmp_path: Path) -> None:
    """They are members of a zip, where such names are refused in any case."""
    with pytest.raises(DatasetError, match=r"'id\.npy' and 'ID\.npy' are one name"):
        read_table(npz_file(tmp_path, {**ROWS, "id": ROWS["ID"]}))


@pytest.mark.parametrize("write", TABLES)
def test_what_dataset_yaml_ignores_collides_with_nothing(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, {**ROWS, "Id": list(range(8)), "Words": ROWS["words"]})
    path.with_name("rows.dataset.yaml").write_text("ignore: [Id, Words]")
    table = read_table(path)
    assert table.ids == ROWS["ID"]
    assert list(table.columns) == ["words"]


def test_a_name_that_dataset_yaml_has_is_meant_as_it_is(tmp_path: Path) -> None:
    path = csv_file(tmp_path, ROWS)
    path.with_name("rows.dataset.yaml").write_text("{group: Group, modalities: {ID: {kind: text}}}")
    table = read_table(path)
    assert table.groups == ROWS["Group"]
    assert list(table.columns) == ["ID", "words"]
    assert table.ids[0] == "1"


def test_lists_of_labels_and_masks(tmp_path: Path) -> None:
    several = {**ROWS, "LABEL": [["cat"], ["cat", "dog"]] * 4}
    for write in (jsonl_file, parquet_file):
        assert read_table(write(tmp_path, several), label_form=None).labels.form == "classes"
    image = np.random.default_rng(0).integers(0, 255, (8, 4, 4, 3), dtype=np.uint8)
    masks = np.random.default_rng(0).integers(0, 2, (8, 4, 4))
    np.savez(tmp_path / "masks.npz", Label=masks, Split=np.array(ROWS["Split"]), image=image)
    assert read_table(tmp_path / "masks.npz", label_form="mask").labels.mask_files is not None
    written = {"Label": masks.tolist(), "Split": ROWS["Split"], "words": ROWS["words"]}
    assert read_table(parquet_file(tmp_path, written), label_form="mask").labels.mask_files is not None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Foo Bar (m/s)", "rename it ('Foo_Bar_m_s' would do)"),
        ("7th", "rename it, or"),
        ("größe", "rename it ('gr_e' would do)"),
        ("a b", "rename it, or"),  # that name is taken
        ("label %", "rename it, or"),  # and that one is an annotation's
        ("", None),
    ],
)
def test_a_name_that_would_do(name: str, says: str | None) -> None:
    log = ProblemLog()
    found = column_names(["label", "A_b", name], Description(), log)
    assert found.modalities == ["A_b"]
    assert [says in problem.detail for problem in log.problems() if says] == [True] * (says is not None)
    assert len(log) == (says is not None)


def test_spaces_around_a_name(tmp_path: Path) -> None:
    table = pa.table({" Label ": ROWS["LABEL"], "Split ": ROWS["Split"], "words": ROWS["words"]})
    file = io.BytesIO()
    pq.write_table(table, file)
    (tmp_path / "rows.parquet").write_bytes(file.getvalue())
    assert read_table(tmp_path / "rows.parquet").labels.names == ROWS["LABEL"]
