from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from job_records import MODEL_REPORT, REPORT, TRAIN_SPEC, add_dataset, add_job, add_model, spec
from service_fixtures import ServiceUnderTest, make_app
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError

from fdkd_core.spec import load_spec
from service.db import Database, db_now
from service.identifiers import new_id
from service.jobs.inputs import find_inputs
from service.jobs.schemas import JobRead, Validated
from service.scopes import LOCAL_OWNER
from service.tables import Dataset, IdempotencyKey, Job, JobEvent


def rows(database: Database) -> list[int]:
    with database.read() as session:
        return [
            session.scalar(select(func.count()).select_from(t)) or 0 for t in (Job, JobEvent, IdempotencyKey)
        ]


def refused(api: ServiceUnderTest, body: dict[str, Any], status: int, code: str) -> list[dict[str, Any]]:
    """Posts it live and as a dry run; both are refused in the same words and nothing is written."""
    before = rows(api.database)
    answer = api.client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "refused"})
    dry = api.client.post("/v1/jobs?validate_only=true", json=body)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert len(answer.content) <= 16 << 10
    del problem["request_id"]
    assert {name: value for name, value in dry.json().items() if name != "request_id"} == problem
    assert rows(api.database) == before
    errors: list[dict[str, Any]] = problem["errors"]
    return errors


def test_a_job_is_stored_as_posted_with_its_defaults(api: ServiceUnderTest, dataset_id: str) -> None:
    answer = api.client.post("/v1/jobs", json={"spec": spec(), "metadata": {"team": "blau", "näme": "ö"}})
    assert answer.status_code == 201
    job = answer.json()
    JobRead.model_validate_json(answer.text)
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["attempt"], job["kind"], job["name"]) == (
        "queued", 0, "distill", "images teach sounds",
    )  # fmt: skip
    assert job["dataset_id"] == dataset_id
    assert job["metadata"] == {"team": "blau", "näme": "ö"}
    assert job["spec"] == load_spec(spec()).model_dump(mode="json")
    assert job["created_at"].endswith("Z")
    assert all(
        job[name] is None
        for name in ("teacher_model_id", "retry_of", "progress", "result", "error", "models", "started_at")
    )
    assert api.client.get(answer.headers["location"]).json() == job
    with api.database.read() as session:
        events = session.execute(select(JobEvent.type, JobEvent.attempt)).all()
        assert session.scalar(select(Job.owner_id)) == LOCAL_OWNER
    assert [tuple(event) for event in events] == [("job.queued", 0)]


def test_a_job_that_trains_one_model(api: ServiceUnderTest, dataset_id: str) -> None:
    job = api.client.post("/v1/jobs", json={"spec": TRAIN_SPEC}).json()
    assert (job["kind"], job["name"], job["metadata"]) == ("train", "training", {})


def test_a_model_is_found_by_any_name_that_it_may_have(api: ServiceUnderTest, dataset_id: str) -> None:
    """Such as those that jobs give: `NAME student job_...`."""
    for name in ("my digits student job_01abc", "größer, als: (gedacht)"):
        model_id = add_model(api.database, name=name)
        teacher = {"modality": "image", "model": name}
        answer = api.client.post("/v1/jobs", json={"spec": spec(dataset=dataset_id, teacher=teacher)})
        assert answer.status_code == 201, answer.text
        assert answer.json()["teacher_model_id"] == model_id


@pytest.mark.parametrize("by", ["name", "other case", "id"])
def test_inputs_are_found_by_name_and_by_id(api: ServiceUnderTest, dataset_id: str, by: str) -> None:
    model_id = add_model(api.database)
    dataset = {"name": "pairs", "other case": "PAIRS", "id": dataset_id}[by]
    model = {"name": "teacher", "other case": "Teacher", "id": model_id}[by]
    job = api.client.post(
        "/v1/jobs", json={"spec": spec(dataset=dataset, teacher={"modality": "image", "model": model})}
    ).json()
    assert (job["dataset_id"], job["teacher_model_id"]) == (dataset_id, model_id)
    assert (job["spec"]["dataset"], job["spec"]["teacher"]["model"]) == (dataset, model)


def test_absent_and_foreign_datasets_cannot_be_told_apart(api: ServiceUnderTest) -> None:
    foreign = add_dataset(api.database, owner_id=new_id("own"))
    answers = []
    for reference in (new_id("ds"), foreign, "pairs", "nothing"):
        errors = refused(api, {"spec": spec(dataset=reference)}, 404, "not_found")
        assert [error["pointer"] for error in errors] == ["/spec/dataset"]
        answers.append(json.dumps(errors).replace(f"'{reference}'", "it"))
    assert len(set(answers)) == 1


def test_absent_and_foreign_teachers_cannot_be_told_apart(api: ServiceUnderTest, dataset_id: str) -> None:
    foreign = add_model(api.database, owner_id=new_id("own"))
    answers = []
    for reference in (new_id("mdl"), foreign, "teacher", "nothing"):
        body = {"spec": spec(teacher={"modality": "image", "model": reference})}
        errors = refused(api, body, 404, "not_found")
        assert [error["pointer"] for error in errors] == ["/spec/teacher/model"]
        answers.append(json.dumps(errors).replace(f"'{reference}'", "it"))
    assert len(set(answers)) == 1


@pytest.mark.parametrize("state", ["validating", "invalid", "deleted"])
def test_inputs_that_are_not_ready(api: ServiceUnderTest, dataset_id: str, state: str) -> None:
    columns: dict[str, Any] = (
        {"deleted_at": db_now()} if state == "deleted" else {"state": state, "report": None}
    )
    other = add_dataset(api.database, name="other", **columns)
    errors = refused(api, {"spec": spec(dataset=other)}, 409, "not_ready")
    assert errors[0]["pointer"] == "/spec/dataset"
    assert state in errors[0]["detail"]
    model = add_model(api.database, **columns)
    body = {"spec": spec(teacher={"modality": "image", "model": model})}
    assert refused(api, body, 409, "not_ready")[0]["pointer"] == "/spec/teacher/model"


def test_what_does_not_fit_the_data_is_refused_at_once(api: ServiceUnderTest, dataset_id: str) -> None:
    body = {"spec": spec(student={"modality": "lidar"})}
    assert refused(api, body, 422, "missing_column")[0]["pointer"] == "/spec/student/modality"
    body = {"spec": spec(student={"modality": "audio", "architecture": {"name": "text_transformer"}})}
    assert refused(api, body, 422, "incompatible")[0]["pointer"].startswith("/spec/student/architecture")
    body = {
        "spec": spec(
            student={"modality": "audio", "architecture": {"name": "conv2d", "width": 2048, "depth": 4}}
        )
    }
    assert refused(api, body, 422, "exceeds_limit")[0]["pointer"].startswith("/spec/student/architecture")
    small = {**REPORT, "splits": {**REPORT["splits"], "train": {"rows": 3, "classes": {}}}}
    add_dataset(api.database, name="small", report=small)
    errors = refused(api, {"spec": spec(dataset="small")}, 422, "dataset_too_small")
    assert {error["pointer"] for error in errors} == {
        "/spec/teacher/train/batch_size",
        "/spec/training/batch_size",
    }
    alone = {"rows": 1000, "classes": {}, "groups": 1, "largest_group": 1000}
    report = {**REPORT, "splits": {**REPORT["splits"], "train": alone}}
    add_dataset(api.database, name="alone", report=report)
    body = {"spec": spec(dataset="alone", method={"name": "auto", "folds": 3})}
    errors = refused(api, body, 422, "dataset_too_small")
    assert [error["pointer"] for error in errors] == ["/spec/method/folds"]
    few = {"rows": 16, "classes": {}}
    report = {**REPORT, "splits": {**REPORT["splits"], "train": few, "unlabelled": {"rows": 1000}}}
    add_dataset(api.database, name="few", report=report)
    body = {
        "spec": spec(
            dataset="few",
            teacher={**spec()["teacher"], "train": {"batch_size": 16}},
            method={"name": "auto", "folds": 17},
        )
    }
    errors = refused(api, body, 422, "dataset_too_small")
    assert [error["pointer"] for error in errors] == ["/spec/method/folds"]
    study = {"kind": "study", "teacher_view": "shuffled_pairs", "method": {"name": "c2kd"}}
    errors = refused(api, {"spec": spec(**study)}, 422, "incompatible")
    assert [error["pointer"] for error in errors] == ["/spec/teacher_view"]


@pytest.mark.parametrize("change", [{"classes": ["a", "b"]}, {"modality_kind": "audio"}])
def test_a_teacher_that_does_not_fit(api: ServiceUnderTest, dataset_id: str, change: dict[str, Any]) -> None:
    add_model(api.database, report={**MODEL_REPORT, **change})
    body = {"spec": spec(teacher={"modality": "image", "model": "teacher"})}
    assert refused(api, body, 422, "incompatible")[0]["pointer"] == "/spec/teacher/model"


SPEC_CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"is_admin": True}, "unknown_field", "/spec/is_admin"),
    ({"training": {"epochs": "7"}}, "wrong_type", "/spec/training/epochs"),
    ({"training": {"epochs": True}}, "wrong_type", "/spec/training/epochs"),
    ({"training": {"epochs": 0}}, "out_of_range", "/spec/training/epochs"),
    ({"training": {"epochs": 10**12}}, "out_of_range", "/spec/training/epochs"),
    ({"name": "a\u202eb"}, "invalid_characters", "/spec/name"),
    ({"name": "a\u200bb"}, "invalid_characters", "/spec/name"),
    ({"name": "a\x00b"}, "invalid_characters", "/spec/name"),
    ({"method": {"name": "logit_kd", "temperature": 0}}, "out_of_range", "/spec/method/temperature"),
    ({"method": {"name": "__import__('os')"}}, "not_allowed", "/spec/method/name"),
    ({"teacher": {"modality": "image", "model": "m", "train": {}}}, "conflicting_fields", "/spec/teacher"),
    ({"schema_version": 2}, "not_allowed", "/spec/schema_version"),
    ({"kind": "destill"}, "not_allowed", "/spec/kind"),
]  # fmt: skip


def test_bad_specs(api: ServiceUnderTest, dataset_id: str) -> None:
    for changes, code, pointer in SPEC_CASES:
        errors = refused(api, {"spec": spec(**changes)}, 422, code)
        assert [error["pointer"] for error in errors] == [pointer]
    for field in ("dataset", "teacher", "student", "task", "kind"):
        body = {"spec": {name: value for name, value in spec().items() if name != field}}
        errors = refused(api, body, 422, "missing_field")
        assert [error["pointer"] for error in errors] == [f"/spec/{field}"]
    for field in ("is_admin", "owner_id", "state", "attempt", "work_key", "id"):
        errors = refused(api, {"spec": spec(), field: "x"}, 422, "unknown_field")
        assert [error["pointer"] for error in errors] == [f"/{field}"]


def test_a_spec_that_is_none(api: ServiceUnderTest, dataset_id: str) -> None:
    assert refused(api, {}, 422, "missing_field")[0]["pointer"] == "/spec"
    assert refused(api, {"spec": None}, 422, "wrong_type")[0]["pointer"] == "/spec"
    assert refused(api, {"spec": "kind: distill"}, 422, "wrong_type")[0]["pointer"] == "/spec"


LABELS: list[tuple[dict[str, Any], str, str]] = [
    ({str(i): "v" for i in range(17)}, "metadata_limit", "/metadata"),
    ({str(i): "v" for i in range(10_000)}, "metadata_limit", "/metadata"),
    ({"k" * 65: "v"}, "metadata_limit", "/metadata/"),
    ({"": "v"}, "metadata_limit", "/metadata/"),
    ({"k": "v" * 513}, "metadata_limit", "/metadata/k"),
    ({"k": "v" * 500_000}, "metadata_limit", "/metadata/k"),
    ({"k": 7}, "wrong_type", "/metadata/k"),
    ({"k": None}, "wrong_type", "/metadata/k"),
    ({"k": {"a": "b"}}, "wrong_type", "/metadata/k"),
    ({"a/b~c": "x\u202e"}, "invalid_characters", "/metadata/a~1b~0c"),
    ({"k": "\x00"}, "invalid_characters", "/metadata/k"),
]


def test_metadata_limits(api: ServiceUnderTest, dataset_id: str) -> None:
    for labels, code, pointer in LABELS:
        errors = refused(api, {"spec": spec(), "metadata": labels}, 422, code)
        assert errors[0]["pointer"].startswith(pointer)


def test_metadata_up_to_the_limits(api: ServiceUnderTest, dataset_id: str) -> None:
    labels = {f"{i:064}": "ü" * 512 for i in range(16)}
    answer = api.client.post("/v1/jobs", json={"spec": spec(), "metadata": labels})
    assert answer.json()["metadata"] == labels


def test_problems_of_spec_and_metadata_are_told_together(api: ServiceUnderTest, dataset_id: str) -> None:
    body = {"spec": spec(training={"epochs": 0}), "metadata": {"k": 1}}
    errors = refused(api, body, 422, "invalid_request")
    assert {error["pointer"] for error in errors} == {"/spec/training/epochs", "/metadata/k"}


def test_a_dry_run_makes_every_check_and_writes_nothing(api: ServiceUnderTest, dataset_id: str) -> None:
    model_id = add_model(api.database)
    body = {"spec": spec(teacher={"modality": "image", "model": "teacher"})}
    answer = api.client.post("/v1/jobs?validate_only=true", json=body)
    assert answer.status_code == 200
    found = Validated.model_validate_json(answer.text)
    assert (found.dataset_id, found.teacher_model_id) == (dataset_id, model_id)
    assert found.student_parameters > 1000
    assert (found.student_trainings, found.teacher_trainings) == (2, 0)
    assert found.warnings == ["two rows look alike"]
    assert rows(api.database) == [0, 0, 0]
    assert api.client.post("/v1/jobs?validate_only=false", json=body).status_code == 201
    assert rows(api.database)[0] == 1


@pytest.mark.parametrize(
    ("query", "code"), [("validate_only=perhaps", "wrong_type"), ("dry_run=true", "unknown_filter")]
)
def test_queries_that_mean_nothing(api: ServiceUnderTest, dataset_id: str, query: str, code: str) -> None:
    answer = api.client.post(f"/v1/jobs?{query}", json={"spec": spec()})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert rows(api.database) == [0, 0, 0]


def test_a_key_that_may_only_read_creates_nothing(api: ServiceUnderTest, dataset_id: str) -> None:
    client = api.other_client("read", owner_id=LOCAL_OWNER)
    assert client.post("/v1/jobs", json={"spec": spec()}).status_code == 403
    assert rows(api.database) == [0, 0, 0]


@pytest.mark.parametrize("limit", [10, 300])
def test_of_many_at_once_no_more_are_queued_than_there_is_room(
    database_url: str, tmp_path: Path, limit: int
) -> None:
    with make_app(database_url, tmp_path, max_queued_jobs=limit) as api:
        dataset_id = add_dataset(api.database)
        running = add_job(api.database, dataset_id, state="running", attempt=1)
        for _ in range(limit - 10):
            add_job(api.database, dataset_id)
        foreign = new_id("own")
        add_dataset(api.database, owner_id=foreign)
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: api.client.post("/v1/jobs", json={"spec": spec()}), range(40)))
        assert sorted(answer.status_code for answer in answers) == [201] * 10 + [429] * 30
        full = next(answer for answer in answers if answer.status_code == 429)
        assert full.json()["code"] == "queue_full"
        assert int(full.headers["retry-after"]) > 0
        refused(api, {"spec": spec()}, 429, "queue_full")
        with api.database.read() as session:
            states = session.scalars(select(Job.state).where(Job.owner_id == LOCAL_OWNER)).all()
        assert (states.count("queued"), states.count("running")) == (limit, 1)
        assert api.client.get(f"/v1/jobs/{running}").status_code == 200
        other = api.other_client("read", "write", owner_id=foreign)
        assert other.post("/v1/jobs", json={"spec": spec()}).status_code == 201


def test_a_job_cannot_slip_past_the_deletion_of_its_dataset(api: ServiceUnderTest, dataset_id: str) -> None:
    """F25: the deletion came first and has not ended yet: the job waits for it and is refused."""
    began = threading.Event()

    def post() -> int:
        began.set()
        return api.client.post("/v1/jobs", json={"spec": spec()}).status_code

    with ThreadPoolExecutor(1) as pool:
        with api.database.write() as session:
            session.execute(update(Dataset).where(Dataset.id == dataset_id).values(deleted_at=db_now()))
            answer = pool.submit(post)
            assert began.wait(10)
            threading.Event().wait(0.3)
            assert not answer.done()
        assert answer.result(20) == 404
    assert rows(api.database) == [0, 0, 0]


def test_a_dataset_that_a_job_is_about_to_use_cannot_be_changed(
    api: ServiceUnderTest, dataset_id: str
) -> None:
    """F25 the other way round: while the job is being written, whoever deletes its inputs waits."""
    if api.database.is_sqlite:
        pytest.skip("one transaction writes at a time")
    model_id = add_model(api.database)

    def delete(table: str, row_id: str) -> None:
        with api.database.write() as session:
            session.execute(text("SET LOCAL lock_timeout = '100ms'"))
            session.execute(text(f"UPDATE {table} SET deleted_at = 1 WHERE id = :id"), {"id": row_id})

    document = load_spec(spec(teacher={"modality": "image", "model": "teacher"}))
    with api.database.write() as session:
        find_inputs(session, LOCAL_OWNER, document, max_waiting=9, hold=True)
        for table, row_id in (("datasets", dataset_id), ("models", model_id)):
            with pytest.raises(OperationalError, match="lock timeout"):
                delete(table, row_id)
        # Another job over the same inputs need not wait.
        with api.database.write() as other:
            other.execute(text("SET LOCAL lock_timeout = '100ms'"))
            find_inputs(other, LOCAL_OWNER, document, max_waiting=9, hold=True)


def test_a_broker_that_is_down_holds_up_no_job(database_url: str, tmp_path: Path) -> None:
    with make_app(database_url, tmp_path, broker_url="redis://127.0.0.1:1/0") as api:
        add_dataset(api.database)
        answers = [api.client.post("/v1/jobs", json={"spec": spec()}) for _ in range(20)]
        assert [answer.status_code for answer in answers] == [201] * 20
        assert max(answer.elapsed.total_seconds() for answer in answers) < 2


def test_workers_are_told_of_a_job_once_it_is_there(
    database_url: str, tmp_path: Path, redis_url: str
) -> None:
    import base64

    import redis

    with make_app(database_url, tmp_path, broker_url=redis_url) as api:
        add_dataset(api.database)
        job_id = api.client.post("/v1/jobs", json={"spec": spec()}).json()["id"]
        api.client.post("/v1/jobs?validate_only=true", json={"spec": spec()})
        api.client.post("/v1/jobs", json={"spec": spec(dataset="none")})
        with redis.Redis.from_url(redis_url) as client:
            message = client.brpop("fdkd", timeout=10)
            assert message is not None
            arguments = json.loads(base64.b64decode(json.loads(message[1])["body"]))[0]
            assert arguments == [job_id]
            assert client.brpop("fdkd", timeout=1) is None


def test_further_teachers_are_checked_too(api: ServiceUnderTest, dataset_id: str) -> None:
    second = {"modality": "audio", "weight": 0.5}
    answer = api.client.post("/v1/jobs", json={"spec": spec(more_teachers=[second])})
    assert answer.status_code == 201, answer.text
    assert answer.json()["spec"]["more_teachers"][0]["weight"] == 0.5
    unknown = spec(more_teachers=[{"modality": "smell"}])
    errors = refused(api, {"spec": unknown}, 422, "missing_column")
    assert [(e["code"], e["pointer"]) for e in errors] == [
        ("missing_column", "/spec/more_teachers/0/modality")
    ]
