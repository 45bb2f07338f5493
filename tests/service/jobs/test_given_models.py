"""Models that a job is given: several teachers, and the weights that a student begins with."""

from __future__ import annotations

from typing import Any

import pytest
from file_requests import check_refusal
from job_records import (
    MODEL_REPORT,
    REPORT,
    TRAIN_SPEC,
    add_dataset,
    add_job_in,
    add_model,
    given_models,
    spec,
)
from service_fixtures import ServiceUnderTest

from service.jobs.schemas import JobRead, Validated
from service.jobs.states import JobState

START_REPORT: dict[str, Any] = {
    **MODEL_REPORT,
    "modality_kind": "audio",
    "input_shape": [1, 20, 32],
    "classes": ["another", "set of classes"],
    "architecture": {"name": "mlp", "width": 8, "depth": 1, "dropout": 0.0},
    "preprocessing_sha256": "a" * 64,
}
STUDENT = {"modality": "audio", "start": "began"}
TEACHER = {"modality": "image", "model": "teacher"}


@pytest.fixture
def start_id(api: ServiceUnderTest, dataset_id: str) -> str:
    """A bundle of sounds of another size and with other classes than the data's."""
    return add_model(api.database, name="began", report=START_REPORT)


def post(api: ServiceUnderTest, document: dict[str, Any], **query: Any) -> Any:
    return api.client.post("/v1/jobs", params=query, json={"spec": document})


def test_one_job_may_be_given_several(api: ServiceUnderTest, start_id: str) -> None:
    first, second = add_model(api.database), add_model(api.database, name="second")
    document = spec(
        teacher=TEACHER,
        more_teachers=[{"modality": "audio"}, {"modality": "image", "model": second}],
        student=STUDENT,
    )
    wanted = {"start": start_id, "teacher": first, "teacher3": second}
    dry = Validated.model_validate_json(post(api, document, validate_only=True).text)
    assert (dry.teacher_model_id, dry.given_models) == (first, wanted)
    assert dry.student_parameters == (20 * 32 + 1) * 8 + (8 + 1) * 10, "of what it begins with"
    answer = post(api, document)
    assert answer.status_code == 201, answer.text
    job = JobRead.model_validate_json(answer.text)
    assert (job.teacher_model_id, job.given_models) == (first, wanted)
    shown = api.client.get(f"/v1/jobs/{job.id}")
    assert shown.content == answer.content
    assert api.client.get("/v1/jobs").json()["data"] == [answer.json()]
    for model_id in wanted.values():
        check_refusal(api.client.delete(f"/v1/models/{model_id}"), 409, "in_use")
    assert api.client.post(f"/v1/jobs/{job.id}/cancel").status_code == 200
    again = api.client.post(f"/v1/jobs/{job.id}/retry")
    assert given_models(api.database, again.json()["id"]) == wanted
    assert api.client.post(f"/v1/jobs/{again.json()['id']}/cancel").status_code == 200
    assert api.client.delete(f"/v1/models/{start_id}").status_code == 204
    check_refusal(api.client.post(f"/v1/jobs/{job.id}/retry"), 409, "not_ready")


def test_a_training_may_begin_with_the_student_of_a_job(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job_in(api.database, dataset_id, JobState.SUCCEEDED)
    student = add_model(
        api.database, name="made", source="job", role="student", job_id=job_id, report=START_REPORT
    )
    answer = post(api, {**TRAIN_SPEC, "student": {"modality": "audio", "start": student}})
    assert answer.status_code == 201, answer.text
    assert answer.json()["given_models"] == {"start": student}
    assert answer.json()["teacher_model_id"] is None


def test_uploaded_weights_bring_their_architecture(api: ServiceUnderTest, dataset_id: str) -> None:
    unknown = dict.fromkeys(("modality_kind", "input_shape", "classes"))
    report = {**MODEL_REPORT, **unknown, "format": "safetensors"}
    add_model(api.database, format="safetensors", report=report)
    answer = post(api, spec(teacher=TEACHER))
    assert answer.status_code == 201, answer.text
    assert post(api, spec(teacher={**TEACHER, "architecture": report["architecture"]})).status_code == 201
    other = {**TEACHER, "architecture": {"name": "mlp", "width": 9}}
    check_refusal(post(api, spec(teacher=other)), 422, "incompatible")
    add_model(api.database, name="small", report={**report, "dimensions": {"num_classes": 9, "inputs": 256}})
    refused = check_refusal(post(api, spec(teacher={**TEACHER, "model": "small"})), 422, "incompatible")
    (problem,) = refused["errors"]
    assert (problem["pointer"], "num_classes 9" in problem["detail"]) == ("/spec/teacher/model", True)
    assert refused["detail"] == f"/spec/teacher/model: {problem['detail']}"  # the code stands beside it


@pytest.mark.parametrize(
    ("report", "changes", "code", "pointer"),
    [
        ({"modality_kind": "image"}, {}, "incompatible", "/spec/student/start"),
        ({"modality_kind": None, "format": "onnx"}, {}, "incompatible", "/spec/student/start"),
        ({}, {"student": {**STUDENT, "architecture": {"name": "conv2d"}}}, "incompatible",
         "/spec/student/architecture"),
        ({"input_shape": [1, 16384, 16384]}, {}, "exceeds_limit", "/spec/student/architecture"),
        ({}, {"method": {"name": "auto"}}, "not_supported", "/spec/student/start"),
        ({}, {"kind": "study"}, "not_supported", "/spec/student/start"),
        ({}, {"student": {**STUDENT, "start": "nobody"}}, "not_found", "/spec/student/start"),
        ({}, {"more_teachers": [{"modality": "image", "model": "nobody"}]}, "not_found",
         "/spec/more_teachers/0/model"),
        ({}, {"more_teachers": [{"modality": "image", "model": "began"}]}, "incompatible",
         "/spec/more_teachers/0/model"),
    ],
)  # fmt: skip
def test_what_cannot_be_given(
    api: ServiceUnderTest, dataset_id: str, report: Any, changes: Any, code: str, pointer: str
) -> None:
    add_model(api.database, name="began", report={**START_REPORT, **report})
    answer = post(api, spec(student=STUDENT) | changes)
    problem = check_refusal(answer, 404 if code == "not_found" else 422, code)
    assert {error["pointer"] for error in problem["errors"]} == {pointer}


def test_two_may_not_read_one_column_differently(api: ServiceUnderTest, start_id: str) -> None:
    classes = MODEL_REPORT["classes"]
    same = {**START_REPORT, "classes": classes}
    add_model(api.database, name="same", report=same)
    add_model(api.database, name="other", report={**same, "preprocessing_sha256": "b" * 64})
    for name, status in (("same", 201), ("other", 422)):
        answer = post(api, spec(teacher={"modality": "audio", "model": name}, student=STUDENT))
        assert answer.status_code == status, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/spec/student/start"]
    others = [{"modality": "audio", "model": "other"}]
    answer = post(api, spec(teacher={"modality": "audio", "model": "same"}, more_teachers=others))
    check_refusal(answer, 422, "incompatible")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/spec/more_teachers/0/model"]


def test_a_diagnosis_needs_pairs_though_its_teacher_needs_no_rows(
    api: ServiceUnderTest, dataset_id: str
) -> None:
    add_model(api.database)
    image = REPORT["modalities"]["image"]
    for name, lacking in (("few", 989), ("enough", 988)):
        columns = {**REPORT["modalities"], "image": {**image, "training_rows_without": lacking}}
        add_dataset(api.database, name=name, report={**REPORT, "modalities": columns})
    document = {**TRAIN_SPEC, "kind": "diagnose", "teacher": TEACHER}
    (problem,) = check_refusal(post(api, {**document, "dataset": "few"}), 422, "dataset_too_small")["errors"]
    assert problem["pointer"] == "/spec/dataset"
    assert "found 11" in problem["detail"]
    assert post(api, {**document, "dataset": "enough"}).status_code == 201
