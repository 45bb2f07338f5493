"""A segmentation taught by an ONNX file, columns or a bundle is accepted or refused when it is posted."""

from __future__ import annotations

from typing import Any

import pytest
from file_requests import check_refusal
from job_records import REPORT, add_dataset, add_model, spec
from service_fixtures import ServiceUnderTest

from fdkd_core.spec.cost import parameters
from fdkd_core.spec.hugging_face.dense import MobileNetV2DeepLabSpec

TASK = {"kind": "segmentation"}
CLASSES = ["wall", "ball", "box"]
LOGITS = {"name": "logits", "shape": [3, 24, 24], "made_by": "Conv"}
FEATURES = {"name": "features", "shape": [64, 12, 12], "made_by": "Relu"}
ONNX: dict[str, Any] = {
    "format": "onnx", "modality_kind": None, "input_shape": [3, 24, 24], "input_dtype": "float32",
    "batch": None, "vocab_size": None, "source_channels": None, "classes": None, "num_classes": 3,
    "feature_dim": 64, "parameters": 12_345, "architecture": None, "dimensions": None, "opset": 20,
    "outputs": [LOGITS, FEATURES],
}  # fmt: skip
BUNDLE: dict[str, Any] = {
    "format": "bundle", "modality_kind": "image", "input_shape": [3, 32, 32], "vocab_size": None,
    "source_channels": None, "shortest_edge": None, "task": "segmentation", "classes": CLASSES,
    "parameters": 12_345, "architecture": {"name": "segformer"}, "dimensions": {},
}  # fmt: skip
GIVEN = {"modality": "colour", "model": "teacher"}
COLUMNS = {"outputs_from": {"features": "pooled", "logits": "scores"}}


def column(kind: str, *shape: int, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "input_shape": list(shape), "input_dtype": "float32", **more}


@pytest.fixture(autouse=True)
def dataset(api: ServiceUnderTest) -> str:
    columns = {
        "colour": column("image", 3, 24, 24, proportions=[1.0, 1.5]),
        "depth": column("depth", 1, 24, 24, proportions=[1.0, 1.5]),
        "pooled": column("map", 64, 12, 12),
        "scores": column("map", 3, 12, 12),
        "large": column("map", 64, 48, 48),
    }
    splits = {
        split: {"rows": 20_000, "classes": dict.fromkeys(CLASSES, 9)} for split in ("train", "val", "test")
    }
    report = {
        **REPORT, "classes": CLASSES, "label_form": "mask", "mask_shape": [24, 24], "splits": splits,
        "modalities": columns,
    }  # fmt: skip
    return add_dataset(api.database, report=report)


def post(api: ServiceUnderTest, teacher: Any, **changes: Any) -> Any:
    fields = {"task": TASK, "student": {"modality": "depth"}, "method": {"name": "pkd"}, **changes}
    return api.client.post("/v1/jobs", json={"spec": spec(teacher=teacher, **fields)})


def add_onnx(api: ServiceUnderTest, **changes: Any) -> str:
    return add_model(api.database, format="onnx", architecture=None, report={**ONNX, **changes})


def test_they_teach(api: ServiceUnderTest) -> None:
    add_onnx(api)
    add_model(api.database, name="bundle", architecture=BUNDLE["architecture"], report=BUNDLE)
    for method in ("logit_kd", "feature_mse", "fd_cmkd", "pkd", "cirkd"):
        for teacher in (GIVEN, {**GIVEN, "model": "bundle"}, COLUMNS):
            answer = post(api, teacher, method={"name": method})
            assert answer.status_code == 201, answer.text
    begun = post(api, COLUMNS, student={"modality": "colour", "start": "bundle"})
    assert begun.status_code == 201, begun.text


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"outputs": [{**LOGITS, "shape": [4, 24, 24]}, FEATURES]}, "incompatible", "/spec/teacher/model"),
        ({"outputs": [LOGITS, {**FEATURES, "shape": [64, 25, 24]}]}, "incompatible",
         "/spec/teacher/outputs/features"),
        ({"outputs": [{**LOGITS, "shape": [3]}]}, "missing_field", "/spec/teacher/outputs/logits"),
        ({"outputs": [{**LOGITS, "made_by": "Softmax"}, FEATURES]}, "incompatible",
         "/spec/teacher/outputs/logits"),
        ({"outputs": [LOGITS]}, "incompatible", "/spec/method"),
        ({"outputs": [LOGITS, {**FEATURES, "shape": [65_000, 24, 24]}]}, "exceeds_limit",
         "/spec/teacher/model"),
    ],
)  # fmt: skip
def test_onnx_files_that_do_not_fit(api: ServiceUnderTest, changes: Any, code: str, pointer: str) -> None:
    add_onnx(api, **changes)
    problem = check_refusal(post(api, GIVEN), 422, code)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("outputs", "role"),
    [
        ({"features": "large"}, "features"),
        ({"features": "pooled", "logits": "depth"}, "logits"),
        ({"features": "scores", "logits": "pooled"}, "logits"),
    ],
)
def test_columns_that_do_not_fit(api: ServiceUnderTest, outputs: Any, role: str) -> None:
    problem = check_refusal(post(api, {"outputs_from": outputs}), 422, "incompatible")
    assert [error["pointer"] for error in problem["errors"]] == [f"/spec/teacher/outputs_from/{role}"]


@pytest.mark.parametrize("changes", [{"classes": ["ball", "box", "wall"]}, {"shortest_edge": 32}])
def test_bundles_that_do_not_fit(api: ServiceUnderTest, changes: Any) -> None:
    """The same classes in another order are other masks; what is cut off a picture, a mask still has."""
    add_model(api.database, architecture=BUNDLE["architecture"], report={**BUNDLE, **changes})
    problem = check_refusal(post(api, GIVEN), 422, "incompatible")
    assert [error["pointer"] for error in problem["errors"]] == ["/spec/teacher/model"]
    student = {"modality": "colour", "start": "teacher"}
    begun = post(api, COLUMNS, student=student)
    assert begun.status_code == (422 if "shortest_edge" in changes else 201), begun.text


def test_a_classifier_begins_a_student_of_masks(api: ServiceUnderTest) -> None:
    """MobileNetV2 alone: what it cuts off a picture is no reason, since the student is to see all of it."""
    network = {"name": "mobilenet_v2", "depth_multiplier": 0.35, "output_stride": 32}
    classes = {"task": "classification", "classes": ["cat", "dog"], "shortest_edge": 36}
    report = {**BUNDLE, **classes, "architecture": network}
    add_model(api.database, name="net", architecture=network, report=report)
    student: dict[str, Any] = {"modality": "colour", "start": "net"}
    answer = post(api, COLUMNS, student=student)
    assert answer.status_code == 201, answer.text
    body = spec(teacher=COLUMNS, task=TASK, student=student, method={"name": "pkd"})
    dry = api.client.post("/v1/jobs?validate_only=true", json={"spec": body})
    assert dry.json()["student_parameters"] == parameters(MobileNetV2DeepLabSpec(), (3, 32, 32), 3)
    student["architecture"] = {"name": "mobilenet_v2_deeplab", "depth_multiplier": 1.0}
    problem = check_refusal(post(api, COLUMNS, student=student), 422, "incompatible")
    pointer = "/spec/student/architecture/depth_multiplier"
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    # Without a head of that kind it is none.
    vit = {**report, "architecture": {"name": "vit"}}
    add_model(api.database, name="vit", architecture=vit["architecture"], report=vit)
    problem = check_refusal(post(api, COLUMNS, student={**student, "start": "vit"}), 422, "incompatible")
    assert "/spec/student/architecture" in [error["pointer"] for error in problem["errors"]]
