"""What a client sends of a spec, which is what was stated, makes the same spec where it arrives."""

from __future__ import annotations

from typing import Any

import pytest

from fdkd_core.spec import (
    AdamWSpec,
    AutoSpec,
    CombinedPart,
    CombineSpec,
    DistillSpec,
    DISTSpec,
    FDCMKDSpec,
    LogitKDSpec,
    StudentSpec,
    TeacherSpec,
    TrainingSpec,
    load_spec,
)
from fdkd_core.spec.gates import GateSpec
from fdkd_core.spec.tasks import ClassificationSpec, RegressionSpec, RetrievalSpec, SegmentationSpec

LEAST: dict[str, Any] = {
    "dataset": "d", "task": {"kind": "classification"}, "teacher": {"modality": "a"},
    "student": {"modality": "b"},
}  # fmt: skip


def sent(spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = spec.model_dump(mode="json", exclude_unset=True)
    return found


@pytest.mark.parametrize("kind", ["distill", "compare", "study", "diagnose"])
@pytest.mark.parametrize("task", ["classification", "multilabel", "regression", "retrieval", "segmentation"])
def test_a_spec_of_defaults(kind: str, task: str) -> None:
    spec = load_spec({**LEAST, "kind": kind, "task": {"kind": task}})
    assert load_spec(sent(spec)) == spec


@pytest.mark.parametrize("task", ["classification", "regression", "retrieval"])
def test_a_search_whose_methods_nobody_named(task: str) -> None:
    """The methods are then the server's to fill in, by the task."""
    spec = load_spec(
        {**LEAST, "kind": "distill", "task": {"kind": task}, "method": {"name": "auto", "trials": 24}}
    )
    assert sent(spec)["method"] == {"name": "auto", "trials": 24}
    assert load_spec(sent(spec)) == spec


@pytest.mark.parametrize(
    "changes",
    [
        {"method": DISTSpec()},
        {"method": FDCMKDSpec(cutoff=0.25)},
        {"method": CombineSpec(parts=(CombinedPart(method=DISTSpec()), CombinedPart(method=LogitKDSpec())))},
        {"method": AutoSpec(methods=(DISTSpec(), LogitKDSpec(weight=0.5)))},
        {"training": TrainingSpec(optimizer=AdamWSpec()), "gates": (GateSpec(),)},
        {"task": RegressionSpec()},
        {"task": RetrievalSpec()},
        {"task": SegmentationSpec()},
    ],
    ids=str,
)
def test_a_spec_made_in_python(changes: dict[str, Any]) -> None:
    """Each kind of a part keeps its tag, though nobody states `name` when writing `DISTSpec()`."""
    parts: dict[str, Any] = {
        "task": ClassificationSpec(), "teacher": TeacherSpec(modality="a"),
        "student": StudentSpec(modality="b"), **changes,
    }  # fmt: skip
    spec = DistillSpec(kind="distill", dataset="d", **parts)
    assert load_spec(sent(spec)) == spec
    assert "seed" not in str(sent(spec))  # and no more than was stated
