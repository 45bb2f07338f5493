import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdkd_core.data.columns import ArrayColumn, BytesColumn, RaggedColumn, TextColumn
from fdkd_core.data.description import Description
from fdkd_core.data.limits import Limits
from fdkd_core.data.parquet_process import ParquetAnswer, read_answer, write_answer
from fdkd_core.data.reading import read_table
from fdkd_core.data.source import OpenFile
from fdkd_core.errors import Problem

ProblemsOf = Callable[..., list[Problem]]
Save = Callable[..., Path]


def good() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "id": [f"r{n}" for n in range(8)],
        "split": ["train"] * 4 + ["val"] * 2 + ["test"] * 2,
        "label": ["sit", "walk"] * 4,
        "image": [b"pixels %d" % (n // 2) for n in range(8)],
        "file": [{"bytes": b"sound %d" % n, "path": f"{n}.wav"} for n in range(8)],
        "text": [f"said {n} ü" for n in range(8)],
        "feat": rng.normal(size=(8, 4)).tolist(),
        "grid": rng.normal(size=(8, 3, 2)).tolist(),
        "series": [rng.normal(size=(n + 1, 2)).tolist() for n in range(8)],
        "age": list(range(8)),
    }


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads here what is otherwise read in a child, which takes half a second to start."""

    def read(file: OpenFile, description: Description, limits: Limits) -> ParquetAnswer:
        with tempfile.TemporaryFile() as answer:
            write_answer(answer, file, description, limits)
            return read_answer(answer)

    monkeypatch.setattr("fdkd_core.data.parquet.read_in_child", read)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(columns: Any, name: str = "data.parquet", **options: Any) -> Path:
        path = tmp_path / name
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(table, path, **options)
        return path

    return write


@pytest.mark.parametrize("row_group_size", [3, 100])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_reads_every_kind_of_column(save: Save, row_group_size: int, use_dictionary: bool) -> None:
    data = good()
    path = save(data, row_group_size=row_group_size, use_dictionary=use_dictionary)
    table = read_table(path)
    assert table.ids == data["id"]
    assert table.labels.names == data["label"]
    assert table.splits == data["split"]
    assert table.warnings == []
    columns = table.columns
    kinds = {name: type(column) for name, column in columns.items()}
    assert kinds == {
        "image": BytesColumn,
        "file": BytesColumn,
        "text": TextColumn,
        "feat": ArrayColumn,
        "grid": ArrayColumn,
        "series": RaggedColumn,
        "age": ArrayColumn,
    }
    assert all(len(column) == 8 for column in columns.values())
    for row in range(8):
        assert columns["image"].read(row) == data["image"][row]
        assert columns["file"].read(row) == data["file"][row]["bytes"]
        assert columns["file"].file_name(row) == f"{row}.wav"
        assert columns["image"].file_name(row) is None
        assert columns["text"].read(row) == data["text"][row]
        for name in ("feat", "grid", "series"):
            assert np.array_equal(columns[name].read(row), data[name][row])
        assert np.array_equal(columns["age"].read(row), [row])
    assert columns["image"].key(0) == columns["image"].key(1) != columns["image"].key(2)


def test_reads_typed_and_coded_columns(save: Save) -> None:
    data = good()
    table = pa.table(
        {
            "split": pa.array(data["split"]).dictionary_encode(),
            "label": pa.array([0, 1] * 4, pa.int8()),
            "feat": pa.array(data["feat"], pa.list_(pa.float32(), 4)),
            "half": pa.array(np.arange(8, dtype=np.float16)),
            "flag": pa.array([True, False] * 4),
            "big": pa.array(data["text"], pa.large_string()),
            "raw": pa.array(data["image"], pa.large_binary()),
            "wide": pa.array(data["feat"], pa.large_list(pa.float64())),
            "bytes_only": pa.array([{"bytes": b"x%d" % n} for n in range(8)]),
            "category": pa.array(data["text"]).dictionary_encode(),
        }
    )
    found = read_table(save(table))
    assert found.labels.names == ["0", "1"] * 4
    assert found.ids[0] == "1"
    value = found.columns["feat"].read(0)
    assert isinstance(value, np.ndarray)
    assert value.dtype == np.float32
    assert found.columns["raw"].read(3) == data["image"][3]
    assert found.columns["bytes_only"].read(3) == b"x3"
    assert found.columns["big"].read(3) == found.columns["category"].read(3) == data["text"][3]
    assert np.array_equal(found.columns["flag"].read(0), [True])
    assert np.array_equal(found.columns["half"].read(2), [2.0])


def test_other_types_are_left_out_and_reported(save: Save) -> None:
    extra = {
        "when": pa.array([0] * 8, pa.timestamp("s")),
        "words": pa.array([["a", "b"]] * 8),
        "point": pa.array([{"x": 1, "y": 2}] * 8),
        "deep": pa.array([[[[[1.0]]]]] * 8),
        "__index_level_0__": pa.array(range(8)),
    }
    table = read_table(save({**good(), **extra}))
    assert not extra.keys() & table.columns.keys()
    assert [warning.split("'")[1] for warning in table.warnings] == ["when", "words", "point", "deep"]


@pytest.mark.parametrize(
    ("column", "values", "rows"),
    [
        ("image", [b"x"] * 6 + [None, b""], [7, 8]),
        ("text", ["x"] * 6 + [None, " "], [7, 8]),
        ("file", [{"bytes": b"x", "path": None}] * 6 + [{"bytes": None, "path": "a"}, None], [7, 8]),
        ("feat", [[1.0, 2.0]] * 6 + [[float("nan"), 1.0], [1.0, None]], [7, 8]),
        ("feat", [[1.0, 2.0]] * 7 + [None], [8]),
        ("series", [[[1.0, 2.0]]] * 6 + [[[0.0, 0.0], [0.0, float("inf")]], []], [7, 8]),
        ("age", [1.0] * 7 + [None], [8]),
        ("split", ["train"] * 7 + [None], [8]),
        ("id", [None, *[str(n) for n in range(7)]], [1]),
    ],
)
def test_refuses_missing_and_infinite_values_by_row(
    save: Save, problems_of: ProblemsOf, column: str, values: list[Any], rows: list[int]
) -> None:
    problems = problems_of(save({**good(), column: values}, row_group_size=3))
    assert [(p.code, p.row, p.pointer) for p in problems] == [("invalid_values", row, column) for row in rows]


@pytest.mark.parametrize(
    ("values", "rows", "words"),
    [
        ([[[1.0], [1.0, 2.0]]] * 8, set(range(1, 9)), "an inner list has"),
        ([[[1.0]]] * 7 + [[[1.0, 2.0]]], {8}, "the shape (2,)|has 2 values"),
        ([[[1.0]]] * 5 + [[[1.0], [1.0, 2.0]], [[3.0]], [[1.0]]], {6}, "an inner list has 2 values"),
        ([[[1.0]]] * 2 + [None, [[2.0], None], *[[[1.0]]] * 4], {4}, "a list inside a list is missing"),
        ([[None, [1.0]]] * 8, set(range(1, 9)), "is missing"),
        ([[[]]] * 8, set(range(1, 9)), "empty lists"),
    ],
)
@pytest.mark.parametrize("row_group_size", [7, 8])
def test_refuses_lists_that_make_no_array(
    save: Save, problems_of: ProblemsOf, values: list[Any], rows: set[int], words: str, row_group_size: int
) -> None:
    column = pa.array(values, pa.list_(pa.list_(pa.float64())))
    problems = problems_of(save({**good(), "grid": column}, row_group_size=row_group_size))
    assert {(p.code, p.pointer) for p in problems} == {("invalid_values", "grid")}
    assert {p.row for p in problems} <= rows
    assert all(any(word in p.detail for word in words.split("|")) for p in problems)


def test_a_missing_integer_is_named_with_its_row(save: Save, problems_of: ProblemsOf) -> None:
    column = pa.array([[[1, 2]]] * 5 + [[[3, None]]] + [[[1, 2]]] * 2)
    (problem,) = problems_of(save({**good(), "grid": column}, row_group_size=4))
    assert (problem.code, problem.pointer, problem.row) == ("invalid_values", "grid", 6)
    assert "a number is missing" in problem.detail


def test_a_described_column_of_another_type_is_refused(save: Save, problems_of: ProblemsOf) -> None:
    path = save({**good(), "maps": [[["a", "b"]]] * 8})
    path.with_name("data.dataset.yaml").write_text("modalities: {maps: {kind: map}}\n")
    (problem,) = problems_of(path)
    assert (problem.code, problem.pointer) == ("invalid_values", "maps")
    assert "its type 'list<" in problem.detail


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ([0.0, 1.0] * 4, "invalid_label"),
        ([0, None] * 4, "invalid_label"),
        ([0, -1] * 4, "invalid_label"),
        ([b"a", b"b"] * 4, "invalid_label"),
        ([[1]] * 8, "invalid_label"),
        (["a"] * 8, "dataset_too_small"),
    ],
)
def test_refuses_bad_labels(save: Save, problems_of: ProblemsOf, label: list[Any], code: str) -> None:
    problems = problems_of(save({**good(), "label": label}))
    assert code in {problem.code for problem in problems}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("image", [None, b"", *[b"x%d" % n for n in range(6)]]),
        ("text", [None, "  ", *[f"x{n}" for n in range(6)]]),
        (
            "file",
            [None, {"bytes": None, "path": "a"}, *[{"bytes": b"x%d" % n, "path": None} for n in range(6)]],
        ),
        ("feat", [None, [], *[[float(n), 2.0] for n in range(6)]]),
        ("series", [None, [], *[[[float(n)]] * (n + 1) for n in range(6)]]),
        ("age", [None, None, *range(6)]),
    ],
)
def test_training_rows_may_lack_a_value(save: Save, column: str, values: list[Any]) -> None:
    kept = {name: value for name, value in good().items() if name in ("id", "split", "label", "grid")}
    table = read_table(save({**kept, column: values}, row_group_size=3))
    assert list(table.missing) == [column]
    assert table.missing[column].tolist() == [True] * 2 + [False] * 6
    found = [table.columns[column].read(row) for row in range(2, 8)]
    expected = [value["bytes"] if isinstance(value, dict) else value for value in values[2:]]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, np.atleast_1d(other)) if isinstance(one, np.ndarray) else one == other
    assert table.columns["grid"].read(0).shape == (3, 2)


def test_a_column_that_training_lacks_altogether_is_refused(save: Save, problems_of: ProblemsOf) -> None:
    values = {
        "image": pa.array([None] * 8, pa.binary()),
        "feat": pa.array([None] * 8, pa.list_(pa.float32())),
    }
    problems = problems_of(save({**good(), **values}))
    assert {(p.pointer, p.row) for p in problems} == {
        (name, row) for name in values for row in (None, 5, 6, 7, 8)
    }


def test_reports_rows_of_all_columns_at_once(save: Save, problems_of: ProblemsOf) -> None:
    bad = {"label": ["sit", ""] + ["walk"] * 6, "split": ["trian"] * 8}
    feat = [[1.0], [1.0], [float("nan")], *[[1.0]] * 5]
    problems = problems_of(save({**good(), **bad, "feat": feat}))
    assert {(p.row, p.pointer) for p in problems} == {
        (2, "label"),
        (3, "feat"),
        *((row, "split") for row in range(1, 9)),
    }


def test_refuses_data_that_cannot_be_trained_on(save: Save, problems_of: ProblemsOf) -> None:
    data = pa.table(good())
    assert problems_of(save(data.slice(0, 0)))[0].code == "dataset_too_small"
    assert problems_of(save(data.slice(0, 1)))[0].code == "dataset_too_small"
    assert problems_of(save(data.slice(0, 6)))[0].code == "missing_split"
    assert problems_of(save(data.drop(["label"])))[0].code == "missing_column"
    assert problems_of(save({**good(), "id": ["same"] * 8}))[0].code == "duplicate_id"


class _Tagged(pa.ExtensionType):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(pa.int64(), "fdkd.test.tagged")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "_Tagged":
        raise SystemExit("the extension type was built")


def test_refuses_extension_types_before_building_them(save: Save, problems_of: ProblemsOf) -> None:
    array = pa.ExtensionArray.from_storage(_Tagged(), pa.array(range(8)))
    path = save({**good(), "tagged": array})
    pa.register_extension_type(_Tagged())
    try:
        (problem,) = problems_of(path)
    finally:
        pa.unregister_extension_type("fdkd.test.tagged")
    assert problem.code == "invalid_parquet"
    assert "extension" in problem.detail


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:-100],
        lambda content: content[:8],
        lambda content: content[:-8] + struct.pack("<I", 1 << 31) + b"PAR1",
        lambda content: content[:-8] + struct.pack("<I", len(content)) + b"PAR1",
        lambda content: content[:-300] + b"\xff" * 200 + content[-100:],
        lambda content: content[:100] + b"\xff" * 300 + content[400:],
    ],
)
def test_refuses_damaged_files(save: Save, problems_of: ProblemsOf, damage: Callable[[bytes], bytes]) -> None:
    path = save(good())
    path.write_bytes(damage(path.read_bytes()))
    assert problems_of(path)[0].code == "invalid_parquet"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(max_rows=7), "exceeds_limit"),
        (Limits(max_columns=10), "exceeds_limit"),
        (Limits(max_row_groups=3), "invalid_parquet"),
        (Limits(max_parquet_footer_bytes=100), "invalid_parquet"),
        (Limits(max_parquet_file_bytes=1000), "exceeds_limit"),
        (Limits(max_table_bytes=1000), "invalid_parquet"),
        (Limits(max_cell_chars=5), "exceeds_limit"),
        (Limits(max_member_bytes=5), "exceeds_limit"),
    ],
)
def test_limits_hold(save: Save, problems_of: ProblemsOf, limits: Limits, code: str) -> None:
    path = save(good(), row_group_size=2)
    read_table(path)
    assert problems_of(path, limits=limits)[0].code == code


BOMBS = {
    "bytes": lambda: pa.array([bytes(1 << 20)] * 200),
    "text": lambda: pa.array(["x" * (1 << 20)] * 200),
    "files": lambda: pa.array([{"bytes": bytes(1 << 20), "path": "a.png"}] * 200),
    "paths": lambda: pa.array([{"bytes": b"x", "path": "a" * (1 << 20)}] * 200),
    "lists": lambda: pa.array([[0.0] * (1 << 16)] * 200),
}


@pytest.mark.parametrize("column", BOMBS)
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_refuses_a_bomb_without_unpacking_it(
    save: Save, problems_of: ProblemsOf, column: str, compression: str
) -> None:
    n = 200
    data = {
        "split": ["train"] * (n - 2) + ["test"] * 2,
        "label": ["a", "b"] * (n // 2),
        "bomb": BOMBS[column](),
    }
    # One value of 1 MiB named 200 times. Without compression the file is 1 MiB, so let fewer make a bomb.
    limits = Limits(total_ratio_floor_bytes=1 << 20, max_ratio=100)
    path = save(data, compression=compression)
    before = pa.total_allocated_bytes()
    started = time.process_time()
    (problem,) = problems_of(path, limits=limits)
    assert time.process_time() - started < 2
    assert problem.code == "invalid_parquet"
    assert pa.total_allocated_bytes() - before < 64 << 20


def test_refuses_a_label_column_that_is_a_bomb(save: Save, problems_of: ProblemsOf) -> None:
    data = {**good(), "label": ["x" * 100_000] * 8}
    limits = Limits(total_ratio_floor_bytes=100_000, max_ratio=2)
    assert problems_of(save(data), limits=limits)[0].code == "invalid_parquet"


def test_a_description_beside_the_file_is_read(save: Save) -> None:
    path = save(good())
    path.with_name("data.dataset.yaml").write_text("{group: age, modalities: {feat: {kind: vector}}}")
    table = read_table(path)
    assert table.groups == [str(n) for n in range(8)]
    assert table.kinds == {"feat": "vector"}
    assert "age" not in table.columns


def test_identity_is_that_of_the_content(save: Save) -> None:
    first = read_table(save(good())).sha256
    assert read_table(save(good(), "other.parquet")).sha256 == first
    assert read_table(save({**good(), "age": list(range(1, 9))})).sha256 != first


@pytest.mark.parametrize(
    ("label", "form"),
    [
        ([["sit"], ["sit", "walk"]] * 4, "classes"),
        ([[0], [1, 0], [], [1]] * 2, "classes"),
        ([[0.5, 1.5], [2.5, 3.5]] * 4, "numbers"),
        ([0.5, 1.5] * 4, "numbers"),
    ],
)
def test_labels_may_be_sets_and_numbers(save: Save, label: list[Any], form: str) -> None:
    found = read_table(save({**good(), "label": label}), label_form=None).labels
    assert found.form == form
    if form == "classes":
        assert found.names == [tuple(map(str, names)) for names in label]
    else:
        np.testing.assert_array_equal(found.numbers, np.array(label).reshape(8, -1))
