"""Studies with figures made up for a test, as if they had been run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fdkd_core.spec import CompareSpec, load_spec
from fdkd_core.spec.compare import arms
from fdkd_core.spec.result import ClassificationMetrics, FinalRun, ModelResult, StudyResult, Trial
from fdkd_core.studies.expectation import expected_test

TEST_ROWS = 400


def compare_spec(**changes: Any) -> CompareSpec:
    """A comparison of logit_kd and fd_cmkd with one fake teacher; keyword arguments replace fields."""
    document = {
        "kind": "compare",
        "name": "vectors-teach-series",
        "dataset": "small",
        "task": {"kind": "classification"},
        "teacher": {"modality": "clean", "architecture": {"name": "mlp", "width": 8}},
        "student": {"modality": "wave", "architecture": {"name": "conv1d", "width": 6, "depth": 2}},
        "methods": [{"name": "logit_kd"}, {"name": "fd_cmkd"}],
        "fake_teachers": ["shuffled_pairs"],
        "export": {"onnx": False, "latency_s": 0.0},
    }
    spec = load_spec({**document, **changes})
    assert isinstance(spec, CompareSpec)
    return spec


def metrics(accuracy: float, rows: int = TEST_ROWS) -> ClassificationMetrics:
    return ClassificationMetrics(
        accuracy=accuracy, macro_f1=accuracy - 0.01, loss=1.0 - accuracy, num_samples=rows
    )


def model_result(accuracy: float, architecture: Mapping[str, Any] | None = None) -> ModelResult:
    return ModelResult(
        modality="clean", architecture=dict(architecture or {"name": "mlp", "width": 8}), parameters=1,
        multiply_adds=1, size_bytes=1, val=metrics(accuracy), test=metrics(accuracy), seconds=1.0, epochs=1,
        best_epoch=1, weights_sha256="0" * 64,
    )  # fmt: skip


def study_result(
    label: str, spec: CompareSpec, test: Sequence[float], val: Sequence[float] | None = None
) -> StudyResult:
    """The arm's study: test accuracy per seed from 1, and validation the same unless it is given."""
    study = arms(spec, None)[label]
    weights = {k: v for k, v in study.method.model_dump().items() if k in ("weight", "low_weight")}
    runs = [
        FinalRun(seed=seed, val=metrics(v), test=metrics(t), seconds=2.0, epochs=3, best_epoch=2)
        for seed, (t, v) in enumerate(zip(test, val or test, strict=True), start=1)
    ]
    assert spec.student.architecture is not None
    expected, intervals = expected_test(runs, "accuracy", None)
    return StudyResult(
        kind="study", name=label, spec_sha256="1" * 64, data_sha256="2" * 64, classes=3,
        method=study.method.model_dump(mode="json"), lr=0.1, parameters=weights,
        teacher_view=study.teacher_view, select_by="accuracy",
        trials=[Trial(number=0, lr=0.1, parameters=weights, val=metrics(0.5), seconds=1.0)],
        runs=runs, metric="accuracy", test=expected, intervals=intervals, teacher=None,
        student=model_result(max(test), spec.student.architecture.model_dump(mode="json")),
        bundle="student", teacher_bundle=None, versions={}, device="cpu", threads=1, seconds=3.0,
    )  # fmt: skip
