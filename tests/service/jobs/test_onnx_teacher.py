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


@pytest.mark.parametrize(
    ("outputs", "methods", "arms"),
    [
        ([LOGITS, FEATURES], ["logit_kd", "feature_mse", "fd_cmkd"],
         ["fd_cmkd shuffled_pairs", "fd_cmkd permuted_channels"]),
        ([LOGITS], ["logit_kd"], ["logit_kd shuffled_pairs"]),
    ],
)  # fmt: skip
def test_a_comparison_compares_by_default_what_the_file_can_serve(
    api: ServiceUnderTest, dataset_id: str, outputs: Any, methods: list[str], arms: list[str]
) -> None:
    add_model(api.database, format="onnx", architecture=None, report={**REPORT, "outputs": outputs})
    document = {**spec(teacher={"modality": "image", "model": "teacher"}), "kind": "compare"}
    checked = api.client.post("/v1/jobs?validate_only=true", json={"spec": document})
    assert checked.status_code == 200, checked.text
    assert checked.json()["children"] == ["no_teacher", *methods, *arms]
    answer = api.client.post("/v1/jobs", json={"spec": document})
    assert answer.status_code == 201, answer.text
    stored = answer.json()["spec"]
    assert stored == checked.json()["spec"]
    assert [method["name"] for method in stored["methods"]] == methods
    assert stored["fake_teachers"] == [arm.split()[1] for arm in arms]


def test_what_somebody_named_of_it_is_refused(api: ServiceUnderTest, dataset_id: str) -> None:
    add_model(api.database, format="onnx", architecture=None, report={**REPORT, "outputs": [LOGITS]})
    document = {
        **spec(teacher={"modality": "image", "model": "teacher"}),
        "kind": "compare", "methods": [{"name": "pkd"}], "fake_teachers": ["untrained_teacher"],
    }  # fmt: skip
    problem = check_refusal(api.client.post("/v1/jobs", json={"spec": document}), 422, "incompatible")
    pointers = {error["pointer"] for error in problem["errors"]}
    assert pointers == {"/spec/methods/0", "/spec/fake_teachers"}


def test_auto_tries_by_default_what_the_file_can_serve(api: ServiceUnderTest, dataset_id: str) -> None:
    add_model(api.database, format="onnx", architecture=None, report={**REPORT, "outputs": [LOGITS]})
    answer = post(api, {}, method={"name": "auto"})
    assert answer.status_code == 201, answer.text
    tried = answer.json()["spec"]["method"]["methods"]
    assert [method["name"] for method in tried] == ["logit_kd", "dist"]
    named = {"name": "auto", "methods": [{"name": "fd_cmkd"}]}
    problem = check_refusal(post(api, {}, method=named), 422, "incompatible")
    assert [error["pointer"] for error in problem["errors"]] == ["/spec/method/methods/0"]
