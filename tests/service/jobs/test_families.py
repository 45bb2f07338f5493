"""A comparison and its children: what the end of one means to the others."""

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
    history,
    read,
    require_sound,
    states,
    stop,
    succeed,
    take,
)
from job_records import given_models
from service_fixtures import ServiceUnderTest

from fdkd_core.spec import load_spec
from fdkd_core.spec.compare import NO_TEACHER, arms, teacher_job
from service.jobs import transitions
from service.jobs.families import TEACHER
from service.jobs.states import JobEventType, JobState
from service.jobs.sweep import sweep
from service.jobs.waiting import count_waiting


@pytest.fixture
def post(api: ServiceUnderTest, dataset_id: str) -> Any:
    """Posts a comparison; returns its id."""

    def post(**changes: Any) -> str:
        answer = api.client.post("/v1/jobs", json={"spec": compare(**changes)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    return post


def lose(api: ServiceUnderTest, job: Any, event: JobEventType) -> None:
    with api.database.write() as session:
        transitions.apply(session, job.id, event, attempt=job.attempt)


def test_names_that_the_core_gives_to_children() -> None:
    spec: Any = load_spec(compare())
    teacher = teacher_job(spec)
    assert teacher is not None
    assert teacher.name == TEACHER
    studies = arms(spec, None)
    assert [study.name for study in studies.values()] == list(studies)
    assert TEACHER not in studies


def test_stages_are_run_in_order(api: ServiceUnderTest, post: Any) -> None:
    database, parent_id = api.database, post()
    assert states(database, parent_id) == dict.fromkeys(["", TEACHER, *ARMS], "queued")
    require_sound(database, parent_id)
    teacher = take(database, TEACHER)
    assert claim(database) is None, "the arms wait for the teacher"
    assert read(database, parent_id).state == JobState.RUNNING
    require_sound(database, parent_id)
    succeed(database, teacher)
    with database.read() as session:
        from service.jobs.families import teacher_model

        model_id = teacher_model(session, teacher.id)
    for name in ARMS:
        require_sound(database, parent_id)
        arm = take(database, name)
        assert given_models(database, arm.id) == {TEACHER: model_id}
        assert arm.spec["teacher"] == {
            "modality": "image", "architecture": None, "train": None, "model": model_id, "outputs": None,
            "outputs_from": None,
        }  # fmt: skip
        load_spec(arm.spec)
        assert read(database, parent_id).attempt == 0
        succeed(database, arm)
    require_sound(database, parent_id)
    assert read(database, parent_id).progress == {
        "phase": "children", "step": 5, "total_steps": 5, "epoch": None, "eta_s": None,
    }  # fmt: skip
    parent = take(database, "which one")
    assert (parent.id, parent.attempt) == (parent_id, 1)
    succeed(database, parent)
    assert set(states(database, parent_id).values()) == {"succeeded"}
    assert history(database, parent_id) == [
        "job.queued", "job.children_started", *["job.child_ended"] * 5, "job.children_ended", "job.claimed",
        "job.succeeded",
    ]  # fmt: skip


def test_with_a_given_teacher_all_arms_may_begin(api: ServiceUnderTest, post: Any) -> None:
    database = api.database
    teacher = given_teacher(database)
    parent_id = post(teacher=teacher)
    assert given_models(database, parent_id) == {TEACHER: teacher["model"]}
    for name in ARMS:
        assert given_models(database, take(database, name).id) == {TEACHER: teacher["model"]}
    assert claim(database) is None
    require_sound(database, parent_id)


@pytest.mark.parametrize("ending", ["fails", "is given up", "is cancelled in the queue", "is cancelled"])
def test_without_its_teacher_a_comparison_ends(api: ServiceUnderTest, post: Any, ending: str) -> None:
    database, parent_id = api.database, post()
    teacher_id = children(database, parent_id)[TEACHER].id
    if ending == "is cancelled in the queue":
        assert api.client.post(f"/v1/jobs/{teacher_id}/cancel").status_code == 200
    else:
        teacher = take(database, TEACHER)
        if ending == "fails":
            fail(database, teacher)
        elif ending == "is given up":
            with database.write() as session:
                error = {"code": "crashed", "message": "again", "phase": "student", "retryable": True}
                transitions.apply(session, teacher_id, JobEventType.GIVEN_UP, attempt=1, error=error)
        else:
            assert api.client.post(f"/v1/jobs/{teacher_id}/cancel").status_code == 202
            assert read(database, parent_id).state == JobState.RUNNING
            stop(database, teacher)
    found = states(database, parent_id)
    has_failed = ending in ("fails", "is given up")
    assert {found.pop(""), found.pop(TEACHER)} == {"failed" if has_failed else "cancelled"}
    assert set(found.values()) == {"cancelled"}
    assert claim(database) is None
    require_sound(database, parent_id)
    parent = read(database, parent_id)
    if not has_failed:  # whoever did it wanted that: nothing has gone wrong
        assert (parent.error, parent.cancel_requested_at is None) == (None, False)
        assert api.client.post(f"/v1/jobs/{parent_id}/retry").status_code == 201
        return
    error = parent.error
    assert error is not None
    assert error["code"] == "child_failed"
    assert f"teacher ({teacher_id})" in error["message"]
    assert error["retryable"] is (ending != "fails")
    assert ("the loss became nan" in error["message"]) == (ending == "fails")


def test_without_an_arm_a_comparison_goes_on(api: ServiceUnderTest, post: Any) -> None:
    database = api.database
    parent_id = post(teacher=given_teacher(database))
    succeed(database, take(database, NO_TEACHER))
    fail(database, take(database, "logit_kd"))
    waiting = children(database, parent_id)["fd_cmkd"].id
    assert api.client.post(f"/v1/jobs/{waiting}/cancel").json()["state"] == "cancelled"
    running = take(database, "fd_cmkd shuffled_pairs")
    assert api.client.post(f"/v1/jobs/{running.id}/cancel").status_code == 202
    require_sound(database, parent_id)
    stop(database, running)
    require_sound(database, parent_id)
    assert take(database).id == parent_id


def test_without_the_control_there_is_nothing_to_compare_with(api: ServiceUnderTest, post: Any) -> None:
    database = api.database
    parent_id = post(teacher=given_teacher(database))
    control, running, done = (take(database, name) for name in ARMS[:3])
    succeed(database, done)
    fail(database, control)
    # What runs is asked to stop and what waits is cancelled; the parent ends when none runs any more.
    assert states(database, parent_id) == {
        "": "running", NO_TEACHER: "failed", "logit_kd": "running", "fd_cmkd": "succeeded",
        "fd_cmkd shuffled_pairs": "cancelled",
    }  # fmt: skip
    assert claim(database) is None
    require_sound(database, parent_id)
    stop(database, running)
    parent = read(database, parent_id)
    assert parent.state == JobState.FAILED
    assert parent.error is not None
    assert f"{NO_TEACHER} ({control.id}) failed" in parent.error["message"]
    require_sound(database, parent_id)


def test_a_lost_or_returned_child_changes_nothing_for_the_others(api: ServiceUnderTest, post: Any) -> None:
    database = api.database
    parent_id = post(teacher=given_teacher(database))
    first, second = take(database, NO_TEACHER), take(database, "logit_kd")
    lose(api, first, JobEventType.LOST)
    lose(api, second, JobEventType.YIELDED)
    require_sound(database, parent_id)
    assert states(database, parent_id)[""] == "running"
    assert [take(database).name for _ in range(4)] == ARMS
    require_sound(database, parent_id)


def test_nobody_takes_a_waiting_parent_away(api: ServiceUnderTest, post: Any) -> None:
    database = api.database
    parent_id = post()
    assert claim(database, parent_id) is None
    take(database, TEACHER)
    assert sweep(api.context).lost_jobs == 0
    assert claim(database, parent_id) is None
    for arm in children(database, parent_id).values():
        assert claim(database, arm.id) is None
    require_sound(database, parent_id)


# Cancelling the whole.


def test_cancelled_before_anything_began(api: ServiceUnderTest, post: Any) -> None:
    database, parent_id = api.database, post()
    answer = api.client.post(f"/v1/jobs/{parent_id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert answer.json() == api.client.get(f"/v1/jobs/{parent_id}").json()
    assert answer.json()["started_at"] is None
    assert set(states(database, parent_id).values()) == {"cancelled"}
    assert claim(database) is None
    again = api.client.post(f"/v1/jobs/{parent_id}/cancel")
    assert (again.status_code, again.json()) == (200, answer.json())
    require_sound(database, parent_id)


def test_without_some_of_its_arms_a_comparison_waits_as_before(api: ServiceUnderTest, post: Any) -> None:
    """It counts as one that waits, and as none that had a turn, until one of its jobs is taken."""
    database, parent_id = api.database, post()
    arm = children(database, parent_id)[ARMS[-1]]
    assert api.client.post(f"/v1/jobs/{arm.id}/cancel").status_code == 200
    require_sound(database, parent_id)
    found = read(database, parent_id)
    assert (found.state, found.started_at) == (JobState.QUEUED, None)
    with database.read() as session:
        assert count_waiting(session, found.owner_id, 10) == 1
    take(database, TEACHER)
    found = read(database, parent_id)
    assert found.state == JobState.RUNNING
    assert found.started_at is not None
    with database.read() as session:
        assert count_waiting(session, found.owner_id, 10) == 0


def test_cancelled_in_line_after_one_of_its_arms(api: ServiceUnderTest, post: Any) -> None:
    database, parent_id = api.database, post()
    api.client.post(f"/v1/jobs/{children(database, parent_id)[ARMS[-1]].id}/cancel")
    answer = api.client.post(f"/v1/jobs/{parent_id}/cancel")
    assert (answer.status_code, answer.json()["state"], answer.json()["started_at"]) == (
        200,
        "cancelled",
        None,
    )
    assert claim(database) is None
    require_sound(database, parent_id)


@pytest.mark.parametrize("stage", ["teacher", "arms"])
def test_cancelled_while_children_run(api: ServiceUnderTest, post: Any, stage: str) -> None:
    database, parent_id = api.database, post()
    running = [take(database, TEACHER)]
    if stage == "arms":
        succeed(database, running[0])
        running = [take(database) for _ in range(3)]
        succeed(database, running.pop())
    answer = api.client.post(f"/v1/jobs/{parent_id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert answer.json()["cancel_requested"] is True
    assert api.client.post(f"/v1/jobs/{parent_id}/cancel").status_code == 200
    assert claim(database) is None
    for job in running:
        require_sound(database, parent_id)
        assert read(database, parent_id).state == JobState.RUNNING
        stop(database, job)
    found = read(database, parent_id)
    assert (found.state, found.error) == (JobState.CANCELLED, None)
    assert found.finished_at is not None
    assert history(database, parent_id)[-1] == "job.children_stopped"
    require_sound(database, parent_id)


def test_cancelled_while_none_runs(api: ServiceUnderTest, post: Any) -> None:
    database, parent_id = api.database, post()
    succeed(database, take(database, TEACHER))
    answer = api.client.post(f"/v1/jobs/{parent_id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert states(database, parent_id)[TEACHER] == "succeeded"
    require_sound(database, parent_id)


def test_a_child_that_finishes_after_all_does_not_bring_the_parent_back(
    api: ServiceUnderTest, post: Any
) -> None:
    database, parent_id = api.database, post()
    teacher = take(database, TEACHER)
    api.client.post(f"/v1/jobs/{parent_id}/cancel")
    succeed(database, teacher)
    assert read(database, parent_id).state == JobState.CANCELLED
    assert claim(database) is None
    require_sound(database, parent_id)


def test_cancelled_before_and_while_it_concludes(api: ServiceUnderTest, post: Any) -> None:
    database = api.database
    teacher = given_teacher(database)
    for concludes in (False, True):
        parent_id = post(teacher=teacher)
        for name in ARMS:
            succeed(database, take(database, name))
        if concludes:
            parent = take(database, "which one")
        answer = api.client.post(f"/v1/jobs/{parent_id}/cancel")
        assert answer.status_code == (202 if concludes else 200)
        assert answer.json()["state"] == ("running" if concludes else "cancelled")
        if concludes:
            stop(database, parent)
        assert read(database, parent_id).state == JobState.CANCELLED
        require_sound(database, parent_id)


def test_a_conclusion_may_be_lost_and_done_again(api: ServiceUnderTest, post: Any) -> None:
    database = api.database
    parent_id = post(teacher=given_teacher(database))
    for name in ARMS:
        succeed(database, take(database, name))
    lose(api, take(database), JobEventType.LOST)
    require_sound(database, parent_id)
    parent = take(database)
    assert (parent.id, parent.attempt) == (parent_id, 2)
    succeed(database, parent)
    require_sound(database, parent_id)
