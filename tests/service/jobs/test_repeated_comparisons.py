"""A comparison that is repeated takes over what has succeeded and goes on with the rest."""

from __future__ import annotations

from typing import Any

import pytest
from family_records import (
    ARMS,
    children,
    claim,
    compare,
    fail,
    given_teacher,
    read,
    require_sound,
    stop,
    succeed,
    take,
)
from job_records import given_models
from service_fixtures import ServiceUnderTest
from sqlalchemy import update

from fdkd_core.spec.compare import NO_TEACHER
from service.db import db_now
from service.jobs.families import TEACHER
from service.jobs.schemas import JobRead
from service.tables import Job, Model
from worker.inputs import find_inputs


@pytest.fixture
def post(api: ServiceUnderTest, dataset_id: str) -> Any:
    def post(**changes: Any) -> str:
        return str(api.client.post("/v1/jobs", json={"spec": compare(**changes)}).json()["id"])

    return post


def leave_checkpoint(api: ServiceUnderTest, job: Job) -> str:
    work_key = f"{job.id}/attempt-{job.attempt}"
    with api.database.write() as session:
        session.execute(update(Job).where(Job.id == job.id).values(work_key=work_key))
    return work_key


def retry(api: ServiceUnderTest, job_id: str) -> JobRead:
    answer = api.client.post(f"/v1/jobs/{job_id}/retry")
    assert answer.status_code == 201, answer.text
    job = JobRead.model_validate_json(answer.text)
    assert job.retry_of == job_id
    require_sound(api.database, job.parent_id or job.id)
    return job


def test_the_teacher_is_trained_again_from_its_checkpoint(api: ServiceUnderTest, post: Any) -> None:
    database, old_id = api.database, post()
    teacher = take(database, TEACHER)
    work_key = leave_checkpoint(api, teacher)
    fail(database, teacher)
    new = retry(api, old_id)
    own = children(database, new.id)
    assert list(own) == [TEACHER, *ARMS]
    assert (own[TEACHER].retry_of, own[TEACHER].work_key) == (teacher.id, work_key)
    assert new.children is not None
    assert new.children.adopted == {}
    succeed(database, take(database, TEACHER))
    for name in ARMS:
        arm = take(database, name)
        assert set(given_models(database, arm.id)) == {TEACHER}
        succeed(database, arm)
    assert take(database).id == new.id


def test_what_succeeded_is_taken_over(api: ServiceUnderTest, post: Any) -> None:
    database, old_id = api.database, post()
    succeed(database, take(database, TEACHER))
    old = children(database, old_id)
    succeed(database, take(database, NO_TEACHER))
    running = take(database, "logit_kd")
    work_key = leave_checkpoint(api, running)
    api.client.post(f"/v1/jobs/{old_id}/cancel")
    assert api.client.post(f"/v1/jobs/{old_id}/retry").json()["code"] == "not_terminal"
    stop(database, running)
    new = retry(api, old_id)
    assert new.children is not None
    assert new.children.adopted == {name: old[name].id for name in (TEACHER, NO_TEACHER)}
    own = children(database, new.id)
    assert list(own) == ["logit_kd", "fd_cmkd", "fd_cmkd shuffled_pairs"]
    assert own["logit_kd"].work_key == work_key
    model_id = given_models(database, old["logit_kd"].id)[TEACHER]
    for name, child in own.items():
        assert (child.retry_of, child.waits_for) == (old[name].id, None)
        assert child.spec == old[name].spec
        assert given_models(database, child.id) == {TEACHER: model_id}
        assert child.spec["teacher"]["model"] == model_id
    for name in own:
        child = take(database, name)
        progress = read(database, new.id).progress
        assert progress is not None
        assert progress["total_steps"] == 5
        succeed(database, child)
    require_sound(database, new.id)
    parent = take(database)
    assert parent.id == new.id
    with database.write() as session:
        found = find_inputs(session, parent).arms
    assert found is not None
    assert found["arms"] == {name: {"n": name} for name in ARMS}


def test_a_comparison_that_lacks_an_arm_may_be_repeated_although_it_succeeded(
    api: ServiceUnderTest, post: Any
) -> None:
    database = api.database
    old_id = post(teacher=given_teacher(database))
    for name in ARMS:
        arm = take(database, name)
        fail(database, arm) if name == "fd_cmkd" else succeed(database, arm)
    parent = take(database)
    with database.write() as session:
        found = find_inputs(session, parent).arms
    assert found is not None
    assert found["arms"]["fd_cmkd"] == {"error": "diverged: the loss became nan"}
    succeed(database, parent)
    first = retry(api, old_id)
    assert list(children(database, first.id)) == ["fd_cmkd"]
    api.client.post(f"/v1/jobs/{first.id}/cancel")
    second = retry(api, first.id)
    assert second.children is not None
    assert set(second.children.adopted) == set(ARMS) - {"fd_cmkd"}
    succeed(database, take(database, "fd_cmkd"))
    succeed(database, take(database))
    answer = api.client.post(f"/v1/jobs/{second.id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "terminal_state")


def test_when_only_the_conclusion_failed_only_that_is_repeated(api: ServiceUnderTest, post: Any) -> None:
    database, old_id = api.database, post()
    for name in (TEACHER, *ARMS):
        succeed(database, take(database, name))
    fail(database, take(database), code="storage_full")
    new = retry(api, old_id)
    assert new.is_blocked is False
    assert children(database, new.id) == {}
    assert take(database).id == new.id


def test_a_conclusion_is_repeated_without_data_and_models(api: ServiceUnderTest, post: Any) -> None:
    """It reads results alone: what they cost is not lost with the data."""
    database = api.database
    teacher = given_teacher(database)
    old_id = post(teacher=teacher)
    for name in ARMS:
        succeed(database, take(database, name))
    fail(database, take(database), code="storage_full")
    dataset_id = read(database, old_id).dataset_id
    for path in (f"/v1/datasets/{dataset_id}", f"/v1/models/{teacher['model']}"):
        assert api.client.delete(path).status_code == 204
    new = retry(api, old_id)
    assert take(database).id == new.id


def test_without_its_teacher_it_cannot_be_repeated(api: ServiceUnderTest, post: Any) -> None:
    database, old_id = api.database, post()
    succeed(database, take(database, TEACHER))
    model_id = given_models(database, children(database, old_id)[NO_TEACHER].id)[TEACHER]
    assert api.client.delete(f"/v1/models/{model_id}").status_code == 409, "the arms need it"
    api.client.post(f"/v1/jobs/{old_id}/cancel")
    with database.write() as session:
        session.execute(update(Model).where(Model.id == model_id).values(deleted_at=db_now()))
    answer = api.client.post(f"/v1/jobs/{old_id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
    assert f"The model {model_id} is deleted" in answer.json()["detail"]
    assert claim(database) is None
    # What the user is told to do instead: the teacher is trained again.
    assert "Post its spec as a new job." in answer.json()["detail"]
    spec = api.client.get(f"/v1/jobs/{old_id}").json()["spec"]
    anew = api.client.post("/v1/jobs", json={"spec": spec})
    assert anew.status_code == 201, anew.text
    assert take(database, TEACHER).parent_id == anew.json()["id"]


def test_a_child_is_repeated_with_its_comparison(api: ServiceUnderTest, post: Any) -> None:
    """The answer is the new child; what had succeeded is taken over, and the table is made anew."""
    database, old_id = api.database, post()
    succeed(database, take(database, TEACHER))
    done = take(database, NO_TEACHER)
    succeed(database, done)
    failed = take(database, "logit_kd")
    work_key = leave_checkpoint(api, failed)
    fail(database, failed)
    for name in ("fd_cmkd", "fd_cmkd shuffled_pairs"):
        succeed(database, take(database, name))
    succeed(database, take(database))
    new = retry(api, failed.id)
    assert (new.name, new.kind, new.state, new.retry_of) == ("logit_kd", "study", "queued", failed.id)
    assert new.parent_id is not None
    assert new.parent_id != old_id
    parent = read(database, new.parent_id)
    assert (parent.retry_of, parent.state) == (old_id, "queued")
    assert parent.children is not None
    assert set(parent.children["adopted"]) == {TEACHER, NO_TEACHER, "fd_cmkd", "fd_cmkd shuffled_pairs"}
    assert list(children(database, parent.id)) == ["logit_kd"]
    arm = take(database, "logit_kd")
    assert (arm.id, arm.work_key) == (new.id, work_key)
    succeed(database, arm)
    assert take(database).id == parent.id
    refused = api.client.post(f"/v1/jobs/{done.id}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "terminal_state")


def test_a_teacher_that_failed_is_repeated_with_all_that_waited_for_it(
    api: ServiceUnderTest, post: Any
) -> None:
    database, old_id = api.database, post()
    teacher = take(database, TEACHER)
    fail(database, teacher)
    new = retry(api, teacher.id)
    assert new.parent_id is not None
    assert list(children(database, new.parent_id)) == [TEACHER, *ARMS]
    assert read(database, new.parent_id).retry_of == old_id
    assert take(database, TEACHER).id == new.id


def test_the_same_request_repeats_a_child_once(api: ServiceUnderTest, post: Any) -> None:
    database = api.database
    post()
    teacher = take(database, TEACHER)
    fail(database, teacher)
    answers = [
        api.client.post(f"/v1/jobs/{teacher.id}/retry", headers={"Idempotency-Key": "again"})
        for _ in range(2)
    ]
    assert answers[0].json()["id"] == answers[1].json()["id"] != teacher.id
    assert answers[0].headers["location"] == f"/v1/jobs/{answers[0].json()['id']}"


def test_a_part_of_a_comparison_that_runs_is_repeated_afterwards(api: ServiceUnderTest, post: Any) -> None:
    """The sentence that refuses it is true."""
    database, parent_id = api.database, post()
    succeed(database, take(database, TEACHER))
    arm = take(database, NO_TEACHER)
    api.client.post(f"/v1/jobs/{arm.id}/cancel")
    refused = api.client.post(f"/v1/jobs/{arm.id}/retry")  # while the wish is pending
    assert (refused.status_code, refused.json()["code"]) == (409, "is_child")
    assert refused.json()["parent_id"] == parent_id
    detail = f"The job is part of {parent_id}, which is running; retry it when that has ended."
    assert refused.json()["detail"] == detail
    assert api.client.post(f"/v1/jobs/{parent_id}/retry").json()["code"] == "not_terminal"
    stop(database, arm)
    again = retry(api, arm.id)
    assert (again.name, again.retry_of, again.state) == (NO_TEACHER, arm.id, "queued")
