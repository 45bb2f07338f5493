"""A job that names an ONNX file is accepted or refused when it is posted, by the file's report."""

from __future__ import annotations

from typing import Any

import pytest
from file_requests import check_refusal
from job_records import add_model, spec
from service_fixtures import ServiceUnderTest

LOGITS = {"name": "logits", "shape": [10], "made_by": "Gemm"}
FEATURES = {"name": "features", "shape": [64], "made_by": "Relu"}
REPORT: dict[str, Any] = {
    "format": "onnx", "modality_kind": None, "input_shape": [1, 16, 16], "input_dtype": "float32",
    "batch": None, "vocab_size": None, "source_channels": None, "classes": None, "num_classes": 10,
    "feature_dim": 64, "parameters": 12_345, "architecture": None, "dimensions": None, "opset": 20,
    "outputs": [LOGITS, FEATURES],
}  # fmt: skip
KD = {"name": "logit_kd"}


def post(api: ServiceUnderTest, teacher: dict[str, Any], **changes: Any) -> Any:
    given = {"modality": "image", "model": "teacher", **teacher}
    return api.client.post("/v1/jobs", json={"spec": spec(teacher=given, **changes)})


def test_it_teaches(api: ServiceUnderTest, dataset_id: str) -> None:
    model_id = add_model(api.database, format="onnx", architecture=None, report=REPORT)
    outputs = {"logits": "logits", "features": None}
    for teacher, changes in (({}, {}), ({}, {"method": KD}), ({"outputs": outputs}, {})):
        answer = post(api, teacher, **changes)
        assert answer.status_code == 201, answer.text
        assert answer.json()["teacher_model_id"] == model_id


@pytest.mark.parametrize(
    ("report", "teacher", "code", "pointer"),
    [
        ({"outputs": [LOGITS]}, {}, "incompatible", "/spec/method"),
        ({"input_shape": [3, 224, 224]}, {}, "incompatible", "/spec/teacher/model"),
        ({"input_dtype": "int64"}, {}, "incompatible", "/spec/teacher/model"),
        ({"outputs": [{**LOGITS, "shape": [1000]}, FEATURES]}, {}, "incompatible", "/spec/teacher/model"),
        ({"outputs": [{**LOGITS, "made_by": "Softmax"}, FEATURES]}, {}, "incompatible",
         "/spec/teacher/outputs/logits"),
        ({"outputs": [LOGITS, {**FEATURES, "shape": [65_537]}]}, {}, "exceeds_limit",
         "/spec/teacher/outputs/features"),
        ({}, {"outputs": {"features": "pool"}}, "incompatible", "/spec/teacher/outputs/features"),
        ({}, {"outputs": {"feature": "pool"}}, "unknown_field", "/spec/teacher/outputs/feature"),
        ({}, {"architecture": {"name": "mlp"}}, "incompatible", "/spec/teacher/architecture"),
    ],
)  # fmt: skip
def test_it_does_not_fit(
    api: ServiceUnderTest, dataset_id: str, report: Any, teacher: Any, code: str, pointer: str
) -> None:
    add_model(api.database, format="onnx", architecture=None, report={**REPORT, **report})
    problem = check_refusal(post(api, teacher), 422, code)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
