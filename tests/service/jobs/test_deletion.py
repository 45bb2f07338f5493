"""Deleting jobs: what goes, what is refused, and that nothing else is touched."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from deployment import Deployment
from family_records import ARMS, children, compare, fail, given_teacher, succeed, take
from file_requests import FORM, check_refusal, dataset_form, nothing_lost, zip_bytes
from job_records import add_dataset, add_job_in, add_model, spec
from service_fixtures import ServiceUnderTest, make_app
from sqlalchemy import func, insert, select, update

from service import quota
from service.db import Database, db_now
from service.errors import NotReadyError
from service.jobs import repository
from service.jobs.inputs import hold_inputs
from service.jobs.orphans import MIN_AGE_S, remove_orphans
from service.jobs.states import TERMINAL, JobState
from service.jobs.stream import look
from service.scopes import LOCAL_OWNER
from service.tables import Artifact, Job, JobEvent, JobLog, JobMetric, JobModel, Model

CONTENT = b"weights" * 100
OF_JOBS = (JobEvent, JobMetric, JobLog, Artifact, JobModel)


def give_files(api: ServiceUnderTest, job_id: str) -> None:
    """An artifact, a metric and a log line, as a worker would have left them."""
    source = api.settings.data_dir / "source"
    source.write_bytes(CONTENT)
    name = "student/model.safetensors"
    stored = api.context.storage.put(f"jobs/{job_id}/attempt-1/{name}", source)
    with api.database.write() as session:
        session.execute(
            insert(Artifact).values(
                job_id=job_id, attempt=1, name=name, media_type="application/octet-stream",
                size_bytes=stored.size_bytes, sha256=stored.sha256, storage_key=stored.key,
            )
        )  # fmt: skip
        session.execute(
            insert(JobMetric).values(job_id=job_id, phase="student", kind="step", step=1, epoch=1, figures={})
        )
        session.execute(insert(JobLog).values(job_id=job_id, attempt=1, source="trainer", line="a line"))


def add_student(api: ServiceUnderTest, job_id: str) -> str:
    """The model that a job made."""
    name, key = f"student {job_id}", f"jobs/{job_id}/attempt-1/student"
    return add_model(api.database, name=name, source="job", role="student", job_id=job_id, storage_key=key)


def succeeded(api: ServiceUnderTest, dataset_id: str, **columns: Any) -> str:
    job_id = add_job_in(api.database, dataset_id, JobState.SUCCEEDED, **columns)
    give_files(api, job_id)
    return job_id


def path(job_id: str) -> str:
    return f"/v1/jobs/{job_id}"


def stored(api: ServiceUnderTest) -> int:
    with api.database.read() as session:
        return quota.stored_bytes(session, LOCAL_OWNER)


def rows_of(database: Database, job_id: str) -> int:
    """How many rows of any table speak of a job."""
    with database.read() as session:
        counts = [
            session.scalar(select(func.count()).select_from(table).where(table.job_id == job_id))
            for table in (*OF_JOBS, Model)
        ]
        counts.append(session.scalar(select(func.count()).where(Job.id == job_id)))
        counts.append(session.scalar(select(func.count()).where(Job.retry_of == job_id)))
        return sum(count or 0 for count in counts)


def files_of(api: ServiceUnderTest, job_id: str) -> bool:
    return (api.settings.storage_dir / "jobs" / job_id).exists()


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


def test_deleted_from_many_sides_at_once(api: ServiceUnderTest, dataset_id: str) -> None:
    """Each is deleted by one of them; the others are told that there is none, and no request fails."""
    for _ in range(8):
        job_id = succeeded(api, dataset_id)
        add_student(api, job_id)
        barrier = threading.Barrier(6)

        def delete(number: int, job_id: str = job_id, barrier: threading.Barrier = barrier) -> int:
            barrier.wait()
            if number >= 4:
                return api.client.post(f"{path(job_id)}/{('cancel', 'retry')[number - 4]}").status_code
            return api.client.delete(path(job_id), params={"with_models": "true"}).status_code

        with ThreadPoolExecutor(6) as pool:
            statuses = list(pool.map(delete, range(6)))
        assert sorted(statuses[:4]) == [204, 404, 404, 404]
        assert set(statuses[4:]) <= {404, 409}
        assert (rows_of(api.database, job_id), files_of(api, job_id)) == (0, False)


def test_a_deletion_that_meets_a_repetition(api: ServiceUnderTest, dataset_id: str) -> None:
    """Either the job is there and repeated, or it is gone and so is what would repeat it."""
    outcomes = set()
    for number in range(20):
        job_id = add_job_in(api.database, dataset_id, JobState.CANCELLED, spec=spec())
        barrier = threading.Barrier(2)

        def delete(job_id: str = job_id, barrier: threading.Barrier = barrier, n: int = number) -> int:
            barrier.wait()
            time.sleep((n % 4) * 0.002)
            return api.client.delete(path(job_id)).status_code

        with ThreadPoolExecutor(1) as pool:
            deleted = pool.submit(delete)
            barrier.wait()
            repeated = api.client.post(f"{path(job_id)}/retry").status_code
        assert (deleted.result(), repeated) in {(204, 404), (409, 201)}
        outcomes.add(repeated)
    assert outcomes


def test_a_deletion_that_meets_a_new_student_of_its_model(api: ServiceUnderTest, dataset_id: str) -> None:
    """As F25 for models: the new job has both of its models, or there is none. Nobody waits in a ring."""
    for _ in range(20):
        job_id = succeeded(api, dataset_id)
        first = add_student(api, job_id)
        second = add_model(api.database, name=f"t {job_id}", source="job", role="teacher", job_id=job_id)
        barrier = threading.Barrier(2)

        def use(first: str = first, second: str = second, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            given = {"teacher": max(first, second), "teacher2": min(first, second)}
            try:
                with api.database.write() as session:
                    hold_inputs(session, LOCAL_OWNER, dataset_id, given, max_waiting=100)
                    repository.insert_job(
                        session, None, given=given, owner_id=LOCAL_OWNER, kind="distill", name="job", spec={},
                        labels={}, dataset_id=dataset_id, gpus=1,
                    )  # fmt: skip
            except NotReadyError:
                return False
            return True

        with ThreadPoolExecutor(1) as pool:
            using = pool.submit(use)
            barrier.wait()
            status = api.client.delete(path(job_id), params={"with_models": "true"}).status_code
        assert (status, using.result()) in {(204, False), (409, True)}
        assert files_of(api, job_id) == using.result()


def test_a_stream_of_a_job_that_is_deleted_ends(api: ServiceUnderTest, dataset_id: str) -> None:
    job_id = add_job_in(api.database, dataset_id, JobState.CANCELLED)
    assert look(api.context, job_id, 0, 0) is not None
    assert api.client.delete(path(job_id)).status_code == 204
    assert look(api.context, job_id, 0, 0) is None
    answer = api.client.get(f"{path(job_id)}/events", headers={"Accept": "text/event-stream"})
    check_refusal(answer, 404, "not_found")


def test_a_server_killed_behind_the_commit(database_url: str, tmp_path: Path) -> None:
    """The job is gone; its files are nobody's, count for nothing, and are swept."""
    with Deployment(tmp_path / "data", database_url, FDKD_SWEEP_S="3600") as deployed:
        api_process = deployed.start_api(FDKD_FAILPOINT="jobs.deleted")
        with make_app(database_url, tmp_path / "data") as api:
            job_id = succeeded(api, add_dataset(api.database))
            with pytest.raises(httpx2.TransportError):
                deployed.http.delete(path(job_id))
            assert api_process.wait(10) == 137
            assert (rows_of(api.database, job_id), files_of(api, job_id), stored(api)) == (0, True, 1)
            work = api.settings.work_dir / job_id
            work.mkdir(parents=True)
            assert remove_orphans(api.context) == 0, "too young"
            folder = api.settings.storage_dir / "jobs" / job_id
            for found in (*folder.rglob("*"), folder, work):
                os.utime(found, (time.time() - MIN_AGE_S - 60,) * 2)
            assert remove_orphans(api.context) == 2
            assert not folder.exists()
