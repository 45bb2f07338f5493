"""Deleting jobs: what goes, what is refused, and that nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from deletable_jobs import CONTENT, add_student, files_of, give_files, path, rows_of, stored, succeeded
from family_records import ARMS, children, compare, fail, given_teacher, succeed, take
from file_requests import FORM, check_refusal, dataset_form, nothing_lost, zip_bytes
from job_records import add_dataset, add_job_in, add_model, spec
from service_fixtures import ServiceUnderTest, make_app
from sqlalchemy import update

from service.db import db_now
from service.jobs.states import TERMINAL, JobState
from service.jobs.stream import look
from service.scopes import LOCAL_OWNER
from service.tables import Job, Model


@pytest.mark.parametrize("state", list(JobState))
def test_only_what_has_ended_is_deleted(api: ServiceUnderTest, dataset_id: str, state: JobState) -> None:
    teacher = add_model(api.database)
    job_id = add_job_in(api.database, dataset_id, state, given={"teacher": teacher})
    other_id = succeeded(api, dataset_id)
    give_files(api, job_id)
    if state not in TERMINAL:
        with nothing_lost(api.settings):
            answer = api.client.delete(path(job_id))
        check_refusal(answer, 409, "not_terminal")
        assert answer.json()["state"] == state
        assert "cancel it first" in answer.json()["detail"]
        return
    answer = api.client.delete(path(job_id))
    assert (answer.status_code, answer.content) == (204, b"")
    for address in ("", "/events", "/metrics", "/logs", "/artifacts", "/artifacts/student/model.safetensors"):
        check_refusal(api.client.get(path(job_id) + address), 404, "not_found")
    for action in ("cancel", "retry"):
        check_refusal(api.client.post(f"{path(job_id)}/{action}"), 404, "not_found")
    assert (rows_of(api.database, job_id), files_of(api, job_id)) == (0, False)
    check_refusal(api.client.delete(path(job_id)), 404, "not_found")
    assert [job["id"] for job in api.client.get("/v1/jobs").json()["data"]] == [other_id]
    assert api.client.get(f"{path(other_id)}/artifacts/student/model.safetensors").content == CONTENT
    assert api.client.get(f"/v1/models/{teacher}").status_code == 200


def test_the_jobs_of_others(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = succeeded(api, dataset_id)
    stranger, reader = api.other_client(), api.other_client("read", owner_id=LOCAL_OWNER)
    with nothing_lost(api.settings):
        check_refusal(stranger.delete(path(job_id)), 404, "not_found")
        check_refusal(reader.delete(path(job_id)), 403, "missing_scope")
        for wrong in ("x", "job_" + "0" * 26, "ds_" + "0" * 26, "job_" + "0" * 7000, "%00", "..%2fx"):
            check_refusal(api.client.delete(path(wrong)), 404, "not_found")
        for query in ({"with_models": "perhaps"}, {"force": "true"}):
            assert api.client.delete(path(job_id), params=query).status_code == 422
    assert api.client.get(path(job_id)).status_code == 200


def test_a_deletion_makes_room_again(database_url: str, tmp_path: Path) -> None:
    """What a reviewer found: with every dataset and model gone, an upload was still refused, for good."""
    content = zip_bytes()
    with make_app(database_url, tmp_path, max_stored_bytes=len(CONTENT) + len(content)) as api:
        job_id = succeeded(api, add_dataset(api.database))
        assert stored(api) == len(CONTENT) + 1

        def upload() -> httpx2.Response:
            return api.client.post("/v1/datasets", content=dataset_form("one more", content), headers=FORM)

        refused = upload()
        check_refusal(refused, 403, "quota_exceeded")
        assert "/v1/usage" in refused.json()["detail"]
        shown = api.client.get("/v1/usage").json()
        assert shown == {
            "stored_bytes": len(CONTENT) + 1,
            "max_stored_bytes": len(CONTENT) + len(content),
            "stored": {"uploads": 0, "datasets": 1, "models": 0, "jobs": len(CONTENT)},
        }
        assert api.other_client("read").get("/v1/usage").json()["stored_bytes"] == 0
        check_refusal(api.other_client("write").get("/v1/usage"), 403, "missing_scope")
        assert api.client.delete(path(job_id)).status_code == 204
        assert upload().status_code == 201
        assert api.client.get("/v1/usage").json()["stored"]["jobs"] == 0


def test_a_job_whose_model_is_there_is_kept(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = succeeded(api, dataset_id)
    model_id = add_student(api, job_id)
    with nothing_lost(api.settings):
        answer = api.client.delete(path(job_id))
    check_refusal(answer, 409, "in_use")
    assert answer.json()["models"] == [model_id]
    assert model_id in answer.json()["detail"]
    assert api.client.delete(f"/v1/models/{model_id}").status_code == 204
    assert stored(api) > 1  # its files are the job's
    assert api.client.delete(path(job_id)).status_code == 204
    assert (stored(api), rows_of(api.database, job_id), files_of(api, job_id)) == (1, 0, False)


def test_a_job_goes_with_its_models(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = succeeded(api, dataset_id)
    model_id = add_student(api, job_id)
    taught = add_job_in(api.database, dataset_id, JobState.FAILED, given={"teacher": model_id})
    assert api.client.delete(path(job_id), params={"with_models": "true"}).status_code == 204
    assert stored(api) == 1
    check_refusal(api.client.get(f"/v1/models/{model_id}"), 404, "not_found")
    assert api.client.get("/v1/models").json()["data"] == []
    # What was taught by it still says so, and can be shown; to try it again its teacher is missing.
    assert api.client.get(path(taught)).json()["given_models"] == {"teacher": model_id}
    check_refusal(api.client.post(f"{path(taught)}/retry"), 409, "not_ready")
    assert api.client.delete(path(taught)).status_code == 204


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
@pytest.mark.parametrize("was_deleted", [False, True])
def test_a_model_that_teaches_is_kept(
    api: ServiceUnderTest, dataset_id: str, state: JobState, was_deleted: bool
) -> None:
    """Also one that was deleted in the middle of a comparison, whose files its arms still need."""
    job_id = succeeded(api, dataset_id)
    model_id = add_student(api, job_id)
    user_id = add_job_in(api.database, dataset_id, state, given={"teacher": model_id})
    if was_deleted:
        with api.database.write() as session:
            session.execute(update(Model).where(Model.id == model_id).values(deleted_at=db_now()))
    with nothing_lost(api.settings):
        answer = api.client.delete(path(job_id), params={"with_models": "true"})
    check_refusal(answer, 409, "in_use")
    assert answer.json()["jobs"] == [user_id]


def test_a_repetition_that_has_not_ended_keeps_what_it_goes_on_from(
    api: ServiceUnderTest, dataset_id: str
) -> None:
    job_id = add_job_in(api.database, dataset_id, JobState.CANCELLED, work_key=None)
    with api.database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(work_key=f"{job_id}/attempt-1"))
    repeat = api.client.post(f"{path(job_id)}/retry").json()["id"]
    answer = api.client.delete(path(job_id))
    check_refusal(answer, 409, "in_use")
    assert answer.json()["jobs"] == [repeat]
    api.client.post(f"{path(repeat)}/cancel")
    again = api.client.post(f"{path(repeat)}/retry").json()["id"]
    # The one between never began: the checkpoint is still that of the first.
    assert api.client.delete(path(job_id)).json()["jobs"] == [again]
    api.client.post(f"{path(again)}/cancel")
    tag = api.client.get(path(repeat)).headers["etag"]
    assert api.client.delete(path(job_id)).status_code == 204
    shown = api.client.get(path(repeat), headers={"If-None-Match": tag})
    assert (shown.status_code, shown.json()["retry_of"]) == (200, None)
    assert api.client.get(path(again)).json()["retry_of"] == repeat
    last = api.client.post(f"{path(again)}/retry")
    assert last.status_code == 201, last.text


def test_a_family_goes_as_a_whole(api: ServiceUnderTest, dataset_id: str) -> None:
    database = api.database
    kept = succeeded(api, dataset_id)
    made = api.client.post("/v1/jobs", json={"spec": compare(teacher=given_teacher(database))}).json()
    parent_id = made["id"]
    check_refusal(api.client.delete(path(parent_id)), 409, "not_terminal")
    for _ in ARMS:
        job = take(database)
        give_files(api, job.id)
        succeed(database, job)
    own = children(database, parent_id)
    with nothing_lost(api.settings):
        check_refusal(api.client.delete(path(parent_id)), 409, "not_terminal")
    succeed(database, take(database))
    for child in own.values():
        with nothing_lost(api.settings):
            answer = api.client.delete(path(child.id), params={"with_models": "true"})
        check_refusal(answer, 409, "is_child")
        assert answer.json()["parent_id"] == parent_id
        assert parent_id in answer.json()["detail"]
    refused = api.client.delete(path(parent_id))
    check_refusal(refused, 409, "in_use")
    assert len(refused.json()["models"]) == len(ARMS)
    assert f"and {len(ARMS) - 3} more" in refused.json()["detail"]
    assert api.client.delete(path(parent_id), params={"with_models": "true"}).status_code == 204
    for member in (parent_id, *(child.id for child in own.values())):
        check_refusal(api.client.get(path(member)), 404, "not_found")
        assert (rows_of(database, member), files_of(api, member)) == (0, False)
    listed = api.client.get("/v1/jobs", params={"include_children": "true"}).json()["data"]
    assert [job["id"] for job in listed] == [kept]
    assert api.client.get(f"{path(kept)}/artifacts/student/model.safetensors").content == CONTENT


def test_a_comparison_that_was_repeated_goes_after_its_repetition(
    api: ServiceUnderTest, dataset_id: str
) -> None:
    """The repetition shows what it has taken over, and may itself be repeated: it needs those jobs."""
    database = api.database
    teacher = given_teacher(database)
    first = api.client.post("/v1/jobs", json={"spec": compare(teacher=teacher)}).json()["id"]
    for name in ARMS:
        job = take(database, name)
        (fail if name == ARMS[-1] else succeed)(database, job)
    succeed(database, take(database))
    second = api.client.post(f"{path(first)}/retry").json()["id"]
    models = {"with_models": "true"}
    check_refusal(api.client.delete(path(first), params=models), 409, "in_use")
    succeed(database, take(database, ARMS[-1]))
    succeed(database, take(database))
    adopted = api.client.get(path(second)).json()["children"]["adopted"]
    assert set(adopted) == set(ARMS[:-1])
    answer = api.client.delete(path(first), params=models)
    check_refusal(answer, 409, "in_use")
    assert answer.json()["jobs"] == [second]
    for job_id in adopted.values():
        assert api.client.get(path(job_id)).status_code == 200
    assert api.client.delete(path(second), params=models).status_code == 204
    assert api.client.delete(path(first), params=models).status_code == 204
    assert api.client.get("/v1/jobs", params={"include_children": "true"}).json()["data"] == []


def test_a_request_that_is_repeated_gets_its_answer_and_no_new_job(
    api: ServiceUnderTest, dataset_id: str
) -> None:
    key, body = {"Idempotency-Key": "once"}, {"spec": spec()}
    made = api.client.post("/v1/jobs", json=body, headers=key)
    job_id = made.json()["id"]
    api.client.post(f"{path(job_id)}/cancel")
    retried = api.client.post(f"{path(job_id)}/retry", headers=key)
    api.client.post(f"{path(retried.json()['id'])}/cancel")
    for gone in (job_id, retried.json()["id"]):
        assert api.client.delete(path(gone)).status_code == 204
    again = api.client.post("/v1/jobs", json=body, headers=key)
    assert (again.status_code, again.content) == (201, made.content)
    assert again.headers["idempotent-replayed"] == "true"
    again = api.client.post(f"{path(job_id)}/retry", headers=key)
    assert (again.status_code, again.content) == (201, retried.content)
    assert api.client.get("/v1/jobs").json()["data"] == []


def test_a_stream_of_a_job_that_is_deleted_ends(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job_in(api.database, dataset_id, JobState.CANCELLED)
    assert look(api.context, job_id, 0, 0) is not None
    assert api.client.delete(path(job_id)).status_code == 204
    assert look(api.context, job_id, 0, 0) is None
    answer = api.client.get(f"{path(job_id)}/events", headers={"Accept": "text/event-stream"})
    check_refusal(answer, 404, "not_found")
