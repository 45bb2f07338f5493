import numpy as np
import pytest

from fdkd_core.data.labels import index_labels, read_class_names, read_labels
from fdkd_core.data.limits import Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.errors import DatasetError


def bad_rows(values: list[object]) -> list[tuple[str, int | None]]:
    log = ProblemLog()
    read_labels(values, log)
    return [(problem.code, problem.row) for problem in log.problems()]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["cat", " dog "], ["cat", "dog"]),
        ([3, 10], ["3", "10"]),
        (["3", "007", "+1"], ["3", "7", "1"]),
        ([True, False], ["1", "0"]),
        (["1a", "2b"], ["1a", "2b"]),
        (["1.0.2", "1-2"], ["1.0.2", "1-2"]),
        (["größer", "日本"], ["größer", "日本"]),
    ],
)
def test_takes_text_or_integers(values: list[object], labels: list[str]) -> None:
    log = ProblemLog()
    assert read_labels(values, log) == labels
    assert not log


@pytest.mark.parametrize(
    "bad",
    [
        -1,
        "-1",
        0.5,
        1.0,
        "1.0",
        "1e5",
        ".5",
        float("nan"),
        float("inf"),
        "inf",
        "nan",
        "NaN",
        "",
        "  ",
        None,
        "null",
        "9" * 19,
        "x" * 256,
        "a\nb",
        "a\ud800",
        b"cat",
    ],
)
def test_refuses_a_bad_label_by_its_row(bad: object) -> None:
    values: list[object] = [0, 1, bad, 1]
    if isinstance(bad, str) and bad[:1] in "xa":
        values = ["u", "v", bad, "v"]
    assert bad_rows(values) == [("invalid_label", 3)]


@pytest.mark.parametrize(
    ("values", "rows"),
    [(["cat", "dog", "3", "cat"], [3]), (["1", "2", "cat", "3"], [3]), ([1, 2, "cat", 3, "dog"], [3, 5])],
)
def test_refuses_a_mix_of_text_and_integers(values: list[object], rows: list[int]) -> None:
    assert bad_rows(values) == [("invalid_label", row) for row in rows]


def test_reports_ten_rows_and_the_number_of_all() -> None:
    problems = bad_rows(["0"] * 5 + [""] * 40)
    assert problems == [("invalid_label", row) for row in range(6, 16)] + [("invalid_label", None)]


def test_integers_are_ordered_by_value_and_text_by_code_point() -> None:
    splits = ["train"] * 4
    assert index_labels(["10", "9", "2", "10"], splits).classes == ["2", "9", "10"]
    found = index_labels(["dog", "Cat", "ant", "dog"], splits)
    assert found.classes == ["Cat", "ant", "dog"]
    assert found.values.dtype == np.int64
    assert found.values.tolist() == [2, 0, 1, 2]


def test_class_names_name_integers() -> None:
    found = index_labels(["1", "0", "1"], ["train"] * 3, ["no", "yes", "perhaps"])
    assert found.classes == ["no", "yes"]
    assert found.values.tolist() == [1, 0, 1]
    assert "perhaps" in found.warnings[0]


def test_class_names_order_text() -> None:
    found = index_labels(["lo", "hi", "mid"], ["train"] * 3, ["lo", "mid", "hi"])
    assert found.classes == ["lo", "mid", "hi"]
    assert found.values.tolist() == [0, 2, 1]
    assert found.warnings == []


@pytest.mark.parametrize(("labels", "row"), [(["0", "1", "2"], 3), (["a", "b", "no"], 1)])
def test_refuses_labels_beyond_the_class_names(labels: list[str], row: int) -> None:
    with pytest.raises(DatasetError) as caught:
        index_labels(labels, ["train"] * 3, ["no", "yes"])
    assert (caught.value.problems[0].code, caught.value.problems[0].row) == ("invalid_label", row)


def test_refuses_a_class_that_training_lacks() -> None:
    with pytest.raises(DatasetError) as caught:
        index_labels(["a", "b", "c", "a"], ["train", "train", "test", "val"])
    assert [(p.code, p.row) for p in caught.value.problems] == [("invalid_label", 3)]


def test_refuses_a_single_class() -> None:
    with pytest.raises(DatasetError) as caught:
        index_labels(["a", "a", "b"], ["train", "train", "test"])
    assert caught.value.problems[0].code == "dataset_too_small"


def test_refuses_labels_that_are_ids() -> None:
    with pytest.raises(DatasetError) as caught:
        index_labels([str(n) for n in range(11)], ["train"] * 11, limits=Limits(max_classes=10))
    assert caught.value.problems[0].code == "exceeds_limit"


@pytest.mark.parametrize("names", [["a", "a"], ["a", ""], ["a", 3], ["a", "b\x00"], ["a", "b" * 256]])
def test_refuses_bad_class_names(names: list[object]) -> None:
    log = ProblemLog()
    assert read_class_names(names, log) == ["a"]
    assert log.count("invalid_label") == 1


def test_refuses_too_many_class_names() -> None:
    log = ProblemLog()
    read_class_names(["a", "b", "c"], log, Limits(max_classes=2))
    assert log.count("exceeds_limit") == 1
