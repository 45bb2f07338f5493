"""What the runs of the authors' recipe are summed up to."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ACCURACY = Path(__file__).parents[2] / "benchmarks" / "accuracy"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ACCURACY))
    yield importlib.import_module("paper_recipe")
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(ACCURACY)):
            del sys.modules[name]


def rows(method: str, lr: float, figures: list[tuple[float, float]]) -> list[dict[str, str]]:
    return [
        {"method": method, "lr": str(lr), "seed": str(seed), "val": str(val), "test": str(test)}
        for seed, (val, test) in enumerate(figures)
    ]


def test_each_method_has_the_rate_that_validation_prefers_and_is_paired_by_seed(recipe: ModuleType) -> None:
    found = [
        *rows("teacher", 0.01, [(0.9, 0.95)]),
        *rows("none", 0.01, [(0.5, 0.9), (0.5, 0.9)]),  # better on test, which decides nothing
        *rows("none", 0.1, [(0.6, 0.50), (0.6, 0.60)]),
        *rows("pkd", 0.01, [(0.7, 0.55), (0.7, 0.65)]),
        *rows("pkd", 0.1, [(0.9, 0.10)]),  # of the seeds that ran at both rates
    ]
    lines = recipe.report(found).splitlines()
    assert lines[0] == "teacher 95.0"
    none, pkd = (line.split(" | ") for line in lines[-2:])
    assert none[3] == "0.1"
    assert none[1] == "90.0 ± 0.0"
    assert none[2].startswith("55.0 ±")
    assert pkd[1].startswith("60.0 ±")
    assert "(-30.0 ±" in pkd[1]  # to the control at this rate
    assert (pkd[2], pkd[3]) == ("10.0 (-40.0)", "0.1")
    assert pkd[4] == "-40.0 |"


def test_the_networks_are_those_of_the_recipe(recipe: ModuleType) -> None:
    found = recipe.direction(8, 100)
    assert (found.student_architecture.name, found.student_architecture.stem) == ("resnet18", "large")
    assert (found.epochs, found.teacher_epochs, found.teacher_architecture.width) == (100, 100, 8)
    published = recipe.METHODS["fd_cmkd as published"]
    assert (published.reduction, published.high_weight, published.log_scale) == ("mean", 1.0, 1.0)


def test_a_division_counts_once_by_the_seeds_that_all_methods_have(recipe: ModuleType) -> None:
    def of(split: int, method: str, tests: list[float]) -> list[dict[str, str]]:
        lr = 0.01 if method == "teacher" else 0.1
        return [{**row, "split": str(split)} for row in rows(method, lr, [(0.5, test) for test in tests])]

    found = [
        *of(1, "teacher", [0.96]), *of(1, "none", [0.30, 0.50, 0.99]), *of(1, "feature_mse", [0.4, 0.6]),
        *of(1, "pkd", [0.60, 0.60]), *of(1, "fd_cmkd", [0.6, 0.8]),
        *of(2, "teacher", [0.96]), *of(2, "none", [0.60]), *of(2, "feature_mse", [0.5]),
        *of(2, "pkd", [0.70]), *of(2, "fd_cmkd", [0.5]),
        {**rows("none", 0.01, [(0.9, 0.9)])[0], "split": "2"},  # of another rate
    ]  # fmt: skip
    lines = recipe.divisions(found, 0.1).splitlines()
    assert lines[0] == "| division | teacher | none | feature_mse | pkd | fd_cmkd |"
    assert lines[2] == "| 1 | 96.0 | 40.0 | 50.0 | 60.0 | 70.0 |"
    assert lines[4] == "| mean | 96.0 | 50.0 | 50.0 | 65.0 | 60.0 |"
    # +30 and -10 to the control; t of one degree of freedom is 12.7.
    assert lines[5].endswith("| +10.0 ± 254.1, ahead on 1 of 2 |")
    assert lines[6].split(" | ")[3] == ""
    assert recipe.direction(16, 100, 3).split == 3
