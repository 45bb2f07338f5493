"""A job whose teacher is columns of outputs is accepted or refused when posted, by the data's report."""

from __future__ import annotations

from typing import Any

import pytest
from file_requests import check_refusal
from job_records import REPORT, add_dataset, spec
from service_fixtures import ServiceUnderTest

BOTH = {"features": "pooled", "logits": "scores"}


def vector(width: int) -> dict[str, Any]:
    return {"kind": "vector", "input_shape": [width], "input_dtype": "float32"}


@pytest.fixture(autouse=True)
def recorded(api: ServiceUnderTest) -> str:
    columns = {**REPORT["modalities"], "pooled": vector(64), "scores": vector(10)}
    return add_dataset(api.database, report={**REPORT, "modalities": columns})


def post(api: ServiceUnderTest, outputs_from: dict[str, Any], **changes: Any) -> Any:
    return api.client.post("/v1/jobs", json={"spec": spec(teacher={"outputs_from": outputs_from}, **changes)})


def test_it_teaches(api: ServiceUnderTest) -> None:
    answer = post(api, BOTH)
    assert answer.status_code == 201, answer.text
    assert answer.json()["teacher_model_id"] is None
    assert answer.json()["spec"]["teacher"]["outputs_from"] == BOTH
    compared = post(api, BOTH, kind="compare", fake_teachers=["shuffled_pairs"])
    assert compared.status_code == 201, compared.text
    children = api.client.get("/v1/jobs", params={"parent_id": compared.json()["id"]}).json()["data"]
    assert {child["kind"] for child in children} == {"study"}, "there is no teacher to train"
    assert not any(child["is_blocked"] for child in children)


@pytest.mark.parametrize(
    ("outputs_from", "method", "code", "pointer"),
    [
        ({**BOTH, "logits": "nowhere"}, "fd_cmkd", "missing_column", "/spec/teacher/outputs_from/logits"),
        ({**BOTH, "logits": "pooled2"}, "fd_cmkd", "missing_column", "/spec/teacher/outputs_from/logits"),
        ({**BOTH, "features": "image"}, "fd_cmkd", "incompatible", "/spec/teacher/outputs_from/features"),
        ({"features": "pooled"}, "logit_kd", "incompatible", "/spec/method"),
        ({"logits": "scores"}, "fd_cmkd", "incompatible", "/spec/method"),
        (BOTH, "c2kd", "incompatible", "/spec/method"),
        ({}, "fd_cmkd", "invalid_value", "/spec/teacher/outputs_from"),
    ],
)
def test_it_does_not_fit(
    api: ServiceUnderTest, outputs_from: Any, method: str, code: str, pointer: str
) -> None:
    problem = check_refusal(post(api, outputs_from, method={"name": method}), 422, code)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_a_task_that_the_labels_are_not_of_is_refused_with_recorded_outputs_too(
    api: ServiceUnderTest,
) -> None:
    """Masks that there are not have no size to hold the outputs against."""
    task = {"kind": "segmentation"}
    problem = check_refusal(post(api, BOTH, task=task, method={"name": "pkd"}), 422, "incompatible")
    assert problem["errors"][0]["pointer"] == "/spec/task/kind"
