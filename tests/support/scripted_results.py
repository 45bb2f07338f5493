"""Results of studies and comparisons whose figures are made of what the scripted trainer computed."""

from __future__ import annotations

from typing import Any

from study_samples import metrics

from fdkd_core.spec.figures import ClassificationMetrics
from fdkd_core.spec.result import Arm, CompareResult, Estimate, FinalRun, StudyResult


def accuracy(link: str) -> float:
    """Of an arm whose chain ended so, 0..1."""
    return int(link[:8], 16) / 2**32


def study_result(spec: dict[str, Any], link: str, template: dict[str, Any]) -> StudyResult:
    """Of one seed.

    Args:
        spec: The study.
        link: The last of its chain.
        template: The result of a real run, for what nobody looks at.
    """
    figures = metrics(accuracy(link))
    return StudyResult(
        kind="study", name=spec["name"], spec_sha256="1" * 64, data_sha256="2" * 64, classes=3,
        method=spec["method"], lr=0.1, parameters={}, teacher_view=spec["teacher_view"],
        select_by="accuracy", trials=[],
        runs=[FinalRun(seed=1, val=figures, test=figures, seconds=1.0, epochs=1, best_epoch=1)],
        teacher=template["teacher"], student=template["student"], bundle="student", teacher_bundle=None,
        versions={}, device="cpu", threads=1, seconds=1.0,
    )  # fmt: skip


def compare_result(arms: dict[str, dict[str, Any]]) -> CompareResult:
    """Of what became of the arms: `arms` of ARMS.json."""
    return CompareResult(
        kind="compare", name="comparison", spec_sha256="1" * 64, data_sha256="2" * 64, metric="accuracy",
        teacher=None, arms=[_arm(label, found) for label, found in arms.items()], best=None,
        summary=["What it means."], bundle=None, versions={}, seconds=1.0,
    )  # fmt: skip


def _arm(label: str, found: dict[str, Any]) -> Arm:
    result = None if "error" in found else StudyResult.model_validate(found)
    test = None
    if result is not None:
        assert isinstance(result.runs[0].test, ClassificationMetrics)
        test = result.runs[0].test.accuracy
    estimate = Estimate(mean=test, low=test, high=test) if test is not None else None
    return Arm(
        label=label, method=label.split()[0], is_control=label == "no_teacher", teacher_view="paired",
        error=found.get("error"), lr=result.lr if result else None, parameters={}, trials=0,
        runs=result.runs if result else [], val=estimate, test=estimate, difference=None, p_value=None,
        p_value_holm=None, teacher_gap_closed=None, verdict=None, seconds=1.0,
    )  # fmt: skip
