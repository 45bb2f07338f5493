"""Labels that are sets of classes, or numbers; and how they are told from each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fdkd_core.data.description import LabelsDescription
from fdkd_core.data.label_forms import inferred_form, read_label_column
from fdkd_core.data.limits import Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.errors import DatasetError

PLAIN = LabelsDescription()


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (["cat", "dog"], "class"),
        ([0, 1, 2], "class"),
        (["1", "2", "3"], "class"),
        (["a|b", "b"], "class"),
        ([True, False], "class"),
        ([["a"], []], "classes"),
        ([[1, 2], [0]], "classes"),
        ([[1.0, 2.0]], "numbers"),
        ([0.5, 1.5, None], "numbers"),
        ([0.0, 1.0], "numbers"),
        (["1.5", "2", "1e3"], "numbers"),
        (["1.5", "2", "3"], "class"),  # a typing error among classes
        ([1.5, "cat", 2.5], "class"),
        ([None, ""], "class"),
    ],
)
def test_what_labels_look_like(values: list[object], form: str) -> None:
    assert inferred_form(values) == form


def read(values: list[Any], form: Any, description: LabelsDescription = PLAIN) -> Any:
    log = ProblemLog()
    found = read_label_column(values, form, description, log)
    return found, [(problem.code, problem.row) for problem in log.problems()]


def test_sets_are_lists_or_texts_with_a_separator() -> None:
    values = [["dog", "cat"], "cat| bird ", "cat", [], " | "]
    found, problems = read(values, "classes")
    assert found.names == [("dog", "cat"), ("cat", "bird"), ("cat",), (), ()]
    assert problems == []
    commas = read(["a,b", ","], "classes", LabelsDescription(separator=","))
    assert commas[0].names == [("a", "b"), ()]


@pytest.mark.parametrize(
    "bad",
    ["", None, ["a", None], ["a", "a"], ["a", -1], ["a", 0.5], "a||b", ["x" * 256], 1.5, [["a"]], ["7"]],
)
def test_a_bad_set_is_refused_by_its_row(bad: object) -> None:
    found, problems = read([["a"], ["b", "a"], bad, ["c"]], "classes")
    assert set(problems) == {("invalid_label", 3)}
    assert len(found.names) == 4


def test_sets_become_columns_of_zeros_and_ones() -> None:
    column, _ = read([["b"], ["a", "b"], [], ["a"], ["b"]], "classes")
    found = column.index(["train", "train", "train", "val", "test"], None)
    assert found.classes == ["a", "b"]
    np.testing.assert_array_equal(found.values, [[0, 1], [1, 1], [0, 0], [1, 0], [0, 1]])
    assert found.values.dtype == np.float32
    assert found.counts(np.arange(3)) == {"a": 1, "b": 2}
    assert found.warnings == []


def test_sets_of_indexes_have_the_names_that_are_given() -> None:
    column, _ = read([[2, 0], [0], [2]], "classes")
    found = column.index(["train"] * 3, ["no", "perhaps", "yes"])
    assert found.classes == ["no", "yes"]
    np.testing.assert_array_equal(found.values, [[1, 1], [1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("values", "splits", "code"),
    [
        ([["a"], ["a"]], ["train", "test"], "dataset_too_small"),
        ([["a", "b"], ["c"]], ["train", "test"], "invalid_label"),
        ([[], []], ["train", "test"], "dataset_too_small"),
    ],
)
def test_training_must_show_every_class(values: list[Any], splits: list[str], code: str) -> None:
    column, problems = read(values, "classes")
    assert problems == []
    with pytest.raises(DatasetError) as caught:
        column.index(splits, None)
    assert [problem.code for problem in caught.value.problems] == [code]


def test_a_class_that_always_applies_is_told() -> None:
    column, _ = read([["a", "b"], ["a"], ["b"]], "classes")
    (line,) = column.index(["train", "train", "test"], None).warnings
    assert "1 classes apply to every training row" in line


def test_too_many_classes() -> None:
    column, _ = read([[str(n)] for n in range(11)], "classes")
    with pytest.raises(DatasetError, match="exceeds_limit"):
        column.index(["train"] * 11, None, Limits(max_classes=10))


def test_too_many_values() -> None:
    """A matrix of sets may be far larger than the text that it is made from."""
    column, _ = read([["a"], ["b"], ["c"]], "classes")
    with pytest.raises(DatasetError, match="exceeds_limit"):
        column.index(["train"] * 3, None, Limits(max_label_values=8))
    column.index(["train"] * 3, None, Limits(max_label_values=9))
    log = ProblemLog()
    read_label_column([[1, 2], [3, 4]], "numbers", PLAIN, log, Limits(max_label_values=3))
    assert [problem.code for problem in log.problems()] == ["exceeds_limit"]


def test_numbers_are_of_many_spellings() -> None:
    found, problems = read([1, 2.5, "3", " -4e1 ", ".5"], "numbers")
    np.testing.assert_array_equal(found.numbers[:, 0], [1, 2.5, 3, -40, 0.5])
    assert (found.number_names, problems) == (("target",), [])
    several, problems = read([[1, 2], "3|4.5", (5, 6)], "numbers")
    np.testing.assert_array_equal(several.numbers, [[1, 2], [3, 4.5], [5, 6]])
    assert (several.number_names, problems) == (("target1", "target2"), [])


@pytest.mark.parametrize(
    "bad", ["", None, "cat", True, float("nan"), float("inf"), 1e31, [1.0, 2.0], [], [None], "1|2", "nan"]
)
def test_a_bad_number_is_refused_by_its_row(bad: object) -> None:
    _, problems = read([0.5, 1.5, bad, 2.5], "numbers")
    assert problems == [("invalid_label", 3)]


def test_numbers_are_learnt_on_the_scale_of_the_training_rows() -> None:
    column, _ = read([[10.0, 0.0], [14.0, 1.0], [100.0, 5.0]], "numbers")
    found = column.index(["train", "train", "test"], None)
    np.testing.assert_allclose(found.values, [[-1, -1], [1, 1], [44, 9]])
    assert found.targets is not None
    np.testing.assert_allclose(found.targets.in_own_units(found.values), column.numbers)
    assert (found.classes, found.counts(np.arange(3))) == ([], {})


@pytest.mark.parametrize(
    ("values", "splits", "code"),
    [([1.5, 1.5, 2.5], ["train", "train", "test"], "invalid_label"),
     ([1.5, 2.5], ["train", "test"], "dataset_too_small")],
)  # fmt: skip
def test_numbers_must_vary_in_training(values: list[Any], splits: list[str], code: str) -> None:
    column, _ = read(values, "numbers")
    with pytest.raises(DatasetError) as caught:
        column.index(splits, None)
    assert [problem.code for problem in caught.value.problems] == [code]


def test_numbers_may_be_named() -> None:
    named = LabelsDescription(names=["height", "width"])
    assert read([[1, 2], [3, 4]], "numbers", named)[0].number_names == ("height", "width")
    assert read([1, 2], "numbers", named)[1] == [("invalid_description", None)]


def test_a_description_decides_what_the_task_leaves_open() -> None:
    numbers = LabelsDescription(form="numbers")
    assert read([1, 2, 3], None, numbers)[0].form == "numbers"
    assert read([1, 2, 3], None)[0].form == "class"
    assert read([1, 2, 3], "numbers")[0].form == "numbers"
    assert read(["a|b"], None, LabelsDescription(form="classes"))[0].names == [("a", "b")]
    found, problems = read([1, 2, 3], "class", numbers)
    assert (found.form, problems) == ("class", [("invalid_description", None)])
