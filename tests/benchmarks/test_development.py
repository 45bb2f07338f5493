"""What the runs on development directions are summed up to."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

ACCURACY = Path(__file__).parents[2] / "benchmarks" / "accuracy"


@pytest.fixture
def development(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ACCURACY))
    spec = importlib.util.spec_from_file_location("accuracy_development", ACCURACY / "development.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def rows(variant: str, lr: float, val: float, tests: dict[str, float]) -> list[dict[str, str]]:
    return [
        {
            "direction": name,
            "variant": variant,
            "lr": str(lr),
            "seed": "0",
            "val": str(val),
            "test": str(test),
        }
        for name, test in tests.items()
    ]


def test_a_variant_has_the_rate_of_its_best_validation_and_is_compared_within_divisions(
    development: ModuleType,
) -> None:
    found = [
        *rows("none", 0.1, 0.8, {"a, split 11": 0.50, "a, split 12": 0.60, "b, split 11": 0.70}),
        *rows("feature_mse", 0.1, 0.8, {"a, split 11": 0.52, "a, split 12": 0.62, "b, split 11": 0.72}),
        *rows("new", 0.1, 0.8, {"a, split 11": 0.53, "a, split 12": 0.63, "b, split 11": 0.70}),
        *rows("new", 0.2, 0.7, {"a, split 11": 0.99, "a, split 12": 0.99, "b, split 11": 0.99}),
    ]
    # Only the other rate has run on an easy direction, which must not speak for it.
    found += rows("new", 0.2, 0.99, {"easy, split 11": 0.99, "easy, split 12": 0.99})
    # Where feature MSE has not run, nothing can be ahead of both.
    found += rows("none", 0.1, 0.8, {"c, split 11": 0.6}) + rows("new", 0.1, 0.8, {"c, split 11": 0.62})
    line = development.report(found).splitlines()[-1]
    # Differences to the control are 3, 3, 0 and 2 points, to feature MSE 1, 1 and -2; b is ahead of neither.
    assert line == "| new | 0.1 | 62.0 | +2.0 ± 0.7 | +0.0 ± 1.0 | 1 of 2 |"


def test_longer_trainings_and_few_labels_are_rows_of_their_own(development: ModuleType) -> None:
    found = development.lengthened(development.resplit(development.DEVELOPMENT_MORE[0], 11), 60)
    usual = development.lengthened(development.resplit(development.DEVELOPMENT_MORE[0], 11), None)
    assert (found.epochs, usual.epochs) == (60, 20)
    few = development.resplit(development.few_labels(development.DEVELOPMENT_MORE[0]), 11)
    parts = [rows("none", 0.1, 0.8, {each.name: 0.5}) for each in (usual, found, few)]
    together = [row for part in parts for row in part]
    assert development.of_setting(together, None, few_labels=False) == parts[0]
    assert development.of_setting(together, 60, few_labels=False) == parts[1]
    assert development.of_setting(together, None, few_labels=True) == parts[2]


def test_paired_by_class_every_row_is_taught_by_one_of_its_class(development: ModuleType) -> None:
    labels = np.array([9, 0, 1, 0, 1, 0, 1, 0, 9])
    data = SimpleNamespace(labels=labels, splits={"train": np.arange(1, 8)})
    mates = development._mates(data).numpy()
    of_train = labels[1:8]
    assert sorted(mates) == list(range(7))
    np.testing.assert_array_equal(of_train[mates], of_train)
    assert (mates != np.arange(7)).any()


def test_every_direction_is_one_that_no_table_reports(development: ModuleType) -> None:
    from directions import DEVELOPMENT_MORE, DIRECTIONS

    reported = {(found.teacher, found.student) for found in DIRECTIONS}
    assert not reported & {(found.teacher, found.student) for found in DEVELOPMENT_MORE}
    assert len({found.name for found in [*DEVELOPMENT_MORE, *development.BY_CLASS]}) == 20


def test_what_leaving_the_stated_rate_gives(development: ModuleType) -> None:
    found = [
        *rows("a", 0.1, 0.80, {"x, split 11": 0.60, "y, split 11": 0.70}),
        *rows("a", 0.2, 0.81, {"x, split 11": 0.50, "y, split 11": 0.72}),
        *rows("a", 0.05, 0.70, {"x, split 11": 0.90, "y, split 11": 0.90}),
        # Two rates tell nothing.
        *rows("b", 0.1, 0.80, {"x, split 11": 0.10}),
        *rows("b", 0.2, 0.90, {"x, split 11": 0.90}),
    ]
    # The rate 0.2 is ahead by a point on validation, and on test behind by 10 and ahead by 2.
    assert development.moves(found, 0.1, (0.0, 2.0)).splitlines()[2:] == [
        "| 0 | 2 of 2 | -4.00 ± 6.00 |",
        "| 2 | 0 of 2 | +0.00 ± 0.00 |",
    ]
