import io
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdkd_core.data.columns import ArrayColumn, TextColumn
from fdkd_core.data.limits import Limits
from fdkd_core.data.reading import read_table
from fdkd_core.errors import DatasetError, Problem

ProblemsOf = Callable[..., list[Problem]]
Save = Callable[..., Path]


def good() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "acc": rng.normal(size=(8, 5, 3)).astype(np.float16),
        "feat": rng.normal(size=(8, 4)).astype(np.float32),
        "text": np.array([f"said {n} ü" for n in range(8)]),
        "age": np.arange(8),
        "label": np.array([0, 1] * 4),
        "split": np.array(["train"] * 4 + ["val"] * 2 + ["test"] * 2),
        "id": np.array([f"r{n}" for n in range(8)]),
        "class_names": np.array(["sit", "walk"]),
    }


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(name: str = "arrays.npz", compressed: bool = True, **arrays: Any) -> Path:
        path = tmp_path / name
        with path.open("wb") as file:
            (np.savez_compressed if compressed else np.savez)(file, **arrays)
        return path

    return write


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("name", ["arrays.npz", "0b7c", "arrays.zip"])
def test_reads_arrays_text_and_annotations(save: Save, compressed: bool, name: str) -> None:
    arrays = good()
    table = read_table(save(name, compressed, **arrays))
    assert table.ids == arrays["id"].tolist()
    assert table.labels.names == ["0", "1"] * 4
    assert table.splits == arrays["split"].tolist()
    assert table.class_names == ["sit", "walk"]
    assert list(table.columns) == ["acc", "feat", "text", "age"]
    acc, text, age = table.columns["acc"], table.columns["text"], table.columns["age"]
    assert isinstance(acc, ArrayColumn)
    value = acc.read(3)
    assert isinstance(value, np.ndarray)
    assert value.dtype == np.float16
    assert np.array_equal(value, arrays["acc"][3])
    assert isinstance(text, TextColumn)
    assert text.read(2) == "said 2 ü"
    assert np.array_equal(age.read(5), [5])
    assert table.warnings == []


def test_text_labels_and_missing_ids(save: Save) -> None:
    arrays = good()
    del arrays["id"], arrays["class_names"]
    arrays["label"] = np.array(["walk", "sit"] * 4)
    table = read_table(save(**arrays))
    assert table.labels.names[:2] == ["walk", "sit"]
    assert table.ids[:2] == ["1", "2"]


def test_a_description_beside_the_file_is_read_by_its_full_name_alone(save: Save) -> None:
    path = save(**good())
    path.with_name("dataset.yaml").write_text("group: text")
    plain = read_table(path)
    assert plain.groups is None
    path.with_name("arrays.dataset.yaml").write_text(
        "{group: text, modalities: {acc: {kind: series}}, ignore: [age], class_names: [a, b]}"
    )
    table = read_table(path)
    assert table.groups is not None
    assert table.kinds == {"acc": "series"}
    assert list(table.columns) == ["acc", "feat"]
    assert table.class_names == ["a", "b"]
    assert table.sha256 != plain.sha256


def test_arrays_that_are_not_row_aligned(save: Save, problems_of: ProblemsOf) -> None:
    table = read_table(save(**good(), rate=np.array(50.0), channels=np.array(["x", "y", "z"])))
    assert len(table.warnings) == 2
    assert "rate" not in table.columns
    problems = problems_of(save(**good(), other=np.zeros((7, 3))))
    assert [(p.code, p.pointer) for p in problems] == [("invalid_npz", "other")]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["acc", "feat"])
def test_refuses_rows_that_are_not_finite(
    save: Save, problems_of: ProblemsOf, column: str, bad: float
) -> None:
    arrays = good()
    arrays[column][1] = bad
    arrays[column].reshape(8, -1)[4, -1] = bad
    problems = problems_of(save(**arrays))
    assert [(p.code, p.row, p.pointer) for p in problems] == [
        ("invalid_values", 2, column),
        ("invalid_values", 5, column),
    ]


def test_refuses_a_column_of_nan(save: Save, problems_of: ProblemsOf) -> None:
    (problem,) = problems_of(save(**{**good(), "acc": np.full((8, 3), np.nan)}))
    assert (problem.code, problem.row, problem.pointer) == ("invalid_values", None, "acc")


@pytest.mark.parametrize(
    ("label", "code"),
    [
        (np.array([0.0, 1.0] * 4), "invalid_label"),
        (np.array([0, -1] * 4), "invalid_label"),
        (np.array([0, 2] * 4), "invalid_label"),
        (np.eye(2)[[0, 1] * 4], "invalid_label"),
        (np.array(["0", "walk"] * 4), "invalid_label"),
        (np.array(["walk", ""] * 4), "invalid_label"),
        (np.array([0] * 8), "dataset_too_small"),
        (np.array(0), "invalid_label"),
    ],
)
def test_refuses_bad_labels(save: Save, problems_of: ProblemsOf, label: Any, code: str) -> None:
    assert problems_of(save(**{**good(), "label": label}))[0].code == code


def test_refuses_no_label_no_test_no_rows(save: Save, problems_of: ProblemsOf) -> None:
    arrays = good()
    assert problems_of(save(**{**arrays, "split": np.array(["train"] * 8)}))[0].code == "missing_split"
    empty = {name: array[:0] for name, array in arrays.items() if name != "class_names"}
    assert problems_of(save(**empty))[0].code == "dataset_too_small"
    one = {name: array[:1] for name, array in arrays.items() if name != "class_names"}
    assert problems_of(save(**one))[0].code == "dataset_too_small"
    del arrays["label"]
    assert problems_of(save(**arrays))[0].code == "missing_column"


@pytest.mark.parametrize(
    ("name", "array", "code"),
    [
        ("id", np.array(["r0"] * 8), "duplicate_id"),
        ("id", np.arange(7), "invalid_npz"),
        ("split", np.array(["train"] * 7), "invalid_npz"),
        ("split", np.array([["train"]] * 8), "invalid_npz"),
        ("split", np.arange(8), "invalid_values"),
        ("group", np.arange(8) / 2, "invalid_values"),
        ("class_names", np.array(["sit", "sit"]), "invalid_label"),
        ("class_names", np.array([0, 1]), "invalid_label"),
        ("text", np.array(["a"] * 7 + [" "]), "invalid_values"),
        ("text", np.array(["a"] * 7 + ["\ud800"]), "invalid_values"),
        ("text", np.array([["a"]] * 8), "invalid_npz"),
        ("text", np.full((8, 1), 0x7FFFFFFF, dtype=np.uint32).view("<U1").reshape(8), "invalid_npz"),
        ("acc", np.zeros((8, 0)), "invalid_npz"),
        ("acc", np.zeros(8, dtype=complex), "invalid_npz"),
        ("acc", np.array([b"x"] * 8), "invalid_npz"),
        ("ACC", np.zeros((8, 2)), "unsafe_entry"),
        ("my array", np.zeros((8, 2)), "invalid_values"),
    ],
)
def test_refuses_bad_arrays(save: Save, problems_of: ProblemsOf, name: str, array: Any, code: str) -> None:
    assert problems_of(save(**{**good(), name: array}))[0].code == code


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


def test_never_unpickles(save: Save, problems_of: ProblemsOf) -> None:
    path = save(**{**good(), "acc": np.array([Bomb()] * 8, dtype=object)})
    (problem,) = problems_of(path)
    assert (problem.code, problem.pointer) == ("invalid_npz", "acc")
    assert "unpickled" in problem.detail


def add_member(path: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def terabyte_header() -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f8", "fortran_order": False, "shape": (8, 1 << 34)}
    )
    return file.getvalue()


def test_refuses_a_terabyte_before_allocating_it(save: Save, problems_of: ProblemsOf) -> None:
    path = add_member(save(**good()), "big.npy", terabyte_header() + bytes(100))
    tracemalloc.start()
    (problem,) = problems_of(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (problem.code, problem.pointer) == ("invalid_npz", "big")
    assert peak < 10 << 20


def test_refuses_a_bomb_before_unpacking_it(save: Save, problems_of: ProblemsOf) -> None:
    path = save(**{**good(), "acc": np.zeros((8, 10 << 20), np.uint8)})
    tracemalloc.start()
    started = time.process_time()
    problems = problems_of(path)
    elapsed = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problems[0].code == "archive_limit"
    assert peak < 10 << 20
    assert elapsed < 1


def test_sorted_annotations_may_pack_well(save: Save) -> None:
    n = 60_000
    arrays = {
        "x": np.random.default_rng(0).normal(size=(n, 1)),
        "label": np.arange(n) // (n // 2) * 0 + np.arange(n) % 2,
        "split": np.array(["train"] * (n - 2) + ["test"] * 2),
    }
    path = save(**arrays)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("split.npy")
    assert info.file_size > 100 * info.compress_size  # else this would test nothing
    assert len(read_table(path).ids) == n


@pytest.mark.parametrize(
    ("name", "content"), [("README.md", b"hello"), ("x.npy", b"\x80\x04."), ("y.npy", b"")]
)
def test_refuses_members_that_are_no_arrays(
    save: Save, problems_of: ProblemsOf, name: str, content: bytes
) -> None:
    assert problems_of(add_member(save(**good()), name, content))[0].code == "invalid_npz"


def test_damage_is_noticed(save: Save, problems_of: ProblemsOf) -> None:
    path = save(compressed=False, **good())
    content = bytearray(path.read_bytes())
    content[content.index(good()["feat"].tobytes())] ^= 1
    path.write_bytes(content)
    assert problems_of(path)[0].code == "invalid_npz"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(max_rows=7), "exceeds_limit"),
        (Limits(max_columns=7), "archive_limit"),
        (Limits(max_table_bytes=300), "archive_limit"),
        (Limits(max_cell_chars=5), "exceeds_limit"),
    ],
)
def test_limits_hold(save: Save, problems_of: ProblemsOf, limits: Limits, code: str) -> None:
    assert problems_of(save(**good()), limits=limits)[0].code == code


def test_a_manifest_cannot_be_chosen(save: Save, problems_of: ProblemsOf) -> None:
    assert problems_of(save(**good()), manifest="m.csv")[0].code == "missing_file"


@pytest.mark.parametrize(
    ("label", "form", "names"),
    [
        (np.eye(2, dtype=np.int64)[[0, 1] * 4], "classes", [("0",), ("1",)] * 4),
        (np.eye(2)[[0, 1] * 4], "numbers", None),
        (np.array([[True, True], [True, False]] * 4), "classes", [("0", "1"), ("0",)] * 4),
        (np.arange(16).reshape(8, 2), "numbers", None),
        (np.linspace(0.0, 1.0, 8), "numbers", None),
        (np.arange(8) % 2, "class", ["0", "1"] * 4),
    ],
)
def test_what_labels_are_is_told_by_their_array(save: Save, label: Any, form: str, names: Any) -> None:
    path = save(**{**good(), "label": label})
    found = read_table(path, label_form=None).labels
    assert found.form == form
    if names is not None:
        assert found.names == names
    else:
        np.testing.assert_array_equal(found.numbers, label.reshape(8, -1))


def test_zeros_and_ones_are_sets_where_the_task_says_so(save: Save) -> None:
    path = save(**{**good(), "label": np.eye(2)[[0, 1] * 4]})
    assert read_table(path, label_form="classes").labels.names == [("0",), ("1",)] * 4
    with pytest.raises(DatasetError, match="exceeds_limit"):
        read_table(path, label_form="classes", limits=Limits(max_label_values=15))
