"""The table of docs/methods.md is that of the code: names, what each looks at, tasks, defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fdkd_core.methods import METHODS
from fdkd_core.spec import (
    PAPER_ABLATION,
    AutoSpec,
    ClassificationSpec,
    CombineSpec,
    DistillingSpec,
    FDCMKDSpec,
    MultilabelSpec,
    RegressionSpec,
    RetrievalSpec,
    SegmentationSpec,
)
from fdkd_core.spec.catalogue import task_problems
from fdkd_core.spec.methods.combine import CombinedPart
from fdkd_core.studies.spaces import weight_fields

DOCUMENT = (Path(__file__).parents[1] / "docs" / "methods.md").read_text()
ROWS = {
    cells[0].strip("`"): cells
    for line in re.findall(r"^\| (`.*)\|$", DOCUMENT, re.MULTILINE)
    if (cells := [cell.strip() for cell in line.split("|")])
}
TASKS = [ClassificationSpec(), MultilabelSpec(), RegressionSpec(), RetrievalSpec(), SegmentationSpec()]
SINGLE = [spec() for spec in METHODS if spec is not CombineSpec]


def test_all_methods_are_there() -> None:
    assert set(ROWS) == {spec.model_fields["name"].default for spec in (*METHODS, AutoSpec)}


@pytest.mark.parametrize("method", SINGLE, ids=lambda method: method.name)
def test_a_method_looks_at_what_is_said(method: Any) -> None:
    found = "nothing"
    if isinstance(method, DistillingSpec):
        found = "features" if method.needs_features else "logits"
        found += ", inputs" if method.needs_teacher_inputs else ""
    assert ROWS[method.name][2] == found


@pytest.mark.parametrize("method", SINGLE, ids=lambda method: method.name)
def test_a_method_fits_the_tasks_that_are_said(method: Any) -> None:
    fitting = [task.kind for task in TASKS if not task_problems(method, task)]
    words = {5: "all", 4: "all but segmentation"}.get(len(fitting), ", ".join(fitting))
    assert ROWS[method.name][3] == words


@pytest.mark.parametrize("method", SINGLE, ids=lambda method: method.name)
def test_defaults_are_those_that_are_said(method: Any) -> None:
    weights = [f"{getattr(method, name):g}" for name in weight_fields(method)]
    words = " and ".join(filter(None, [", ".join(weights[:-1]), *weights[-1:]]))
    if hasattr(method, "temperature"):
        words += f", T {method.temperature:g}"
    if isinstance(method, DistillingSpec) and method.weight_schedule.warmup_frac:
        words += f", warm-up {method.weight_schedule.warmup_frac:.0%}".replace("%", " %")
    assert ROWS[method.name][4] == words


def test_auto_tries_what_is_said() -> None:
    names = [method.name for method in AutoSpec().methods]
    assert names == ["logit_kd", "dist", "fd_cmkd", "combine"]
    assert "`auto` tries `logit_kd`, `dist`, `fd_cmkd`, and `fd_cmkd` with `logit_kd`." in DOCUMENT


def test_parts_are_as_many_as_is_said() -> None:
    bounds = CombineSpec.model_fields["parts"].metadata
    least = next(bound.min_length for bound in bounds if hasattr(bound, "min_length"))
    most = next(bound.max_length for bound in bounds if hasattr(bound, "max_length"))
    assert f"{least} to {most} `parts`" in ROWS["combine"][1]
    assert CombinedPart.model_fields["weight"].default == 1.0


def test_rows_of_the_ablation_are_stated_as_they_are() -> None:
    section = DOCUMENT.split("## The rows of the paper's ablation\n")[1]
    shared = re.search(r"^Each is `(\{.*\})`$", section, re.MULTILINE)
    assert shared is not None
    rows = re.findall(r"^\| ([^|`]+) \| `(\{.*\})` \|", section, re.MULTILINE)
    stated = {
        name: FDCMKDSpec.model_validate(yaml.safe_load(shared[1]) | yaml.safe_load(fields))
        for name, fields in rows
    }
    assert list(stated) == list(PAPER_ABLATION)
    assert stated == PAPER_ABLATION
    (block,) = re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    short = FDCMKDSpec.model_validate(yaml.safe_load(block)["method"])
    assert short == PAPER_ABLATION["all, logMSE"]
