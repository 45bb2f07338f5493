"""Comparisons with real workers: their jobs are shared, and whatever dies, the result is the same."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from family_records import require_sound
from scripted_results import accuracy
from scripted_trainer import chain
from worker_process import running
from worker_rig import Rig

from fdkd_core.spec.result import CompareResult
from service.jobs.states import TERMINAL

STEPS = 12
ARMS = ["no_teacher", "logit_kd", "fd_cmkd"]
SLOW = "steps=12 step_s=0.06"
PLANS = dict.fromkeys(["teacher", *ARMS], "steps=12 step_s=0.02")


def add(rig: Rig, small_data: Path, plans: dict[str, str], arms: list[str] = ARMS) -> str:
    """A comparison with a teacher and these arms, the first of which is always there."""
    methods = [{"name": name} for name in arms[1:]] or [{"name": "none"}]
    return rig.add_compare(rig.add_dataset(small_data), plans, fake_teachers=[], methods=methods)


def result_of(rig: Rig, parent_id: str) -> CompareResult:
    return CompareResult.model_validate(rig.job(parent_id).result)


def require_right(rig: Rig, parent_id: str, labels: list[str] = ARMS, without: tuple[str, ...] = ()) -> None:
    """Every arm computed what an undisturbed one does, and nothing of the family is left."""
    arms = {arm.label: arm for arm in result_of(rig, parent_id).arms}
    assert list(arms) == labels
    for label, arm in arms.items():
        assert (arm.error is None) == (label not in without), arm.error
        if arm.test is not None:
            assert arm.test.mean == accuracy(chain(STEPS))
    children = rig.children(parent_id)
    rig.require_clean_history([child.id for child in children.values()])
    require_sound(rig.context.database, parent_id)


def step_of(rig: Rig, parent_id: str, name: str) -> int:
    return int((rig.children(parent_id)[name].progress or {}).get("step", 0))


def test_two_workers_share_a_comparison(both_rig: Rig, small_data: Path) -> None:
    rig = both_rig
    parent_id = add(rig, small_data, dict.fromkeys(["teacher", *ARMS], SLOW))
    alone = rig.add_job(rig.add_dataset(small_data), plan="steps=3")
    with running(rig.start_worker()), running(rig.start_worker()):
        parent = rig.wait_for_end(parent_id, "succeeded")
        rig.wait_for_end(alone, "succeeded")
    require_right(rig, parent_id)
    children = rig.children(parent_id)
    claims = {
        str(event.data["worker_id"])
        for child in children.values()
        for event in rig.events(child.id, "job.claimed")
    }
    assert len(claims) == 2
    model = rig.models(children["teacher"].id)["student"]
    assert {rig.given(child.id)["teacher"] for name, child in children.items() if name != "teacher"} == {
        model.id
    }
    for name in ARMS:
        child = children[name]
        assert set(rig.models(child.id)) == {"student"}
        assert child.started_at is not None
        assert child.started_at >= children["teacher"].finished_at
    assert rig.models(parent_id) == {}
    assert set(rig.artifacts(parent_id)) == {"result.json", "events.jsonl", "report/arms.csv"}
    assert rig.read_artifact(parent_id, "report/arms.csv").decode().splitlines() == ARMS
    assert (parent.attempt, parent.losses) == (1, 0)
    # What nobody needs any more is gone: working folders, and for the conclusion no data were fetched.
    assert [path.name for path in rig.context.settings.work_dir.iterdir() if path.name != "cache"] == []


def test_workers_are_killed_in_the_middle_of_children(
    make_rig: Callable[..., Rig], postgresql_url: str, small_data: Path
) -> None:
    rig = make_rig(postgresql_url)
    parent_id = add(rig, small_data, dict.fromkeys(["teacher", *ARMS], SLOW))
    first = rig.start_worker()
    rig.wait(lambda: step_of(rig, parent_id, "teacher") >= 4, what="the teacher")
    first.send(signal.SIGKILL)
    second = rig.start_worker()
    rig.wait(lambda: step_of(rig, parent_id, "logit_kd") >= 4, what="the second arm")
    second.send(signal.SIGKILL)
    with running(rig.start_worker()):
        rig.wait_for_end(parent_id, "succeeded")
    require_right(rig, parent_id)
    children = rig.children(parent_id)
    assert {name: child.losses for name, child in children.items()} == {
        "teacher": 1, "no_teacher": 0, "logit_kd": 1, "fd_cmkd": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "how", ["worker", *(pytest.param(how, marks=pytest.mark.long) for how in ("trainer", "commit"))]
)
def test_killed_while_it_concludes(rig: Rig, small_data: Path, how: str) -> None:
    plans = {**PLANS, "": "kill@finalise" if how == "trainer" else "hang@finalise"}
    parent_id = add(rig, small_data, plans, ARMS[:1])
    worker = rig.start_worker(stop_grace_s=0.2, shutdown_grace_s=1)
    if how != "trainer":
        rig.wait(lambda: rig.fired(parent_id), what="the conclusion")
        if how == "worker":
            worker.send(signal.SIGKILL)
        else:
            assert worker.stop() == 0, worker.log
            doomed = rig.start_worker(failpoint="before_success_commit")
            rig.wait(lambda: doomed.process.poll() is not None, what="the end of the worker")
        worker = rig.start_worker()
    with running(worker):
        rig.wait_for_end(parent_id, "succeeded")
    require_right(rig, parent_id, ARMS[:1])
    assert rig.job(parent_id).losses == 1


def test_an_arm_fails_and_the_others_go_on(rig: Rig, small_data: Path) -> None:
    plans = {**PLANS, "logit_kd": "exit4@student:3 until=9"}
    parent_id = add(rig, small_data, plans)
    with running(rig.start_worker()):
        rig.wait_for_end(parent_id, "succeeded")
    require_right(rig, parent_id, without=("logit_kd",))
    (arm,) = [arm for arm in result_of(rig, parent_id).arms if arm.error is not None]
    assert (arm.label, arm.error) == ("logit_kd", "storage_full: planned by the test")


@pytest.mark.parametrize("name", ["teacher", "no_teacher"])
def test_without_teacher_or_control_it_fails(rig: Rig, small_data: Path, name: str) -> None:
    parent_id = add(rig, small_data, {**PLANS, "fd_cmkd": SLOW, name: "exit4@student:3 until=9"})
    with running(rig.start_worker(worker_slots=3)):
        parent = rig.wait_for_end(parent_id, "failed")
    assert parent.error is not None
    assert parent.error["code"] == "child_failed"
    assert name in parent.error["message"]
    require_sound(rig.context.database, parent_id)
    assert all(child.state in TERMINAL for child in rig.children(parent_id).values())


def test_cancelled_while_arms_run(rig: Rig, small_data: Path) -> None:
    plans = {**PLANS, **dict.fromkeys(ARMS, "steps=500 step_s=0.05")}
    parent_id = add(rig, small_data, plans)
    with running(rig.start_worker(worker_slots=2)):
        rig.wait(
            lambda: [child.state for child in rig.children(parent_id).values()].count("running") == 2,
            what="two arms",
        )
        with rig.context.database.write() as session:
            from job_rows import OWNER

            from service.jobs import families
            from service.jobs.repository import lock

            lock(session, OWNER, parent_id)
            families.cancel(session, parent_id)
        rig.wait_for_end(parent_id, "cancelled")
    states = [child.state for child in rig.children(parent_id).values()]
    assert states == ["succeeded", *["cancelled"] * 3]
    require_sound(rig.context.database, parent_id)


@pytest.mark.storm
def test_a_storm_of_kills_on_two_comparisons(make_rig: Callable[..., Rig], small_data: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    rig = make_rig(max_attempts=50, lease_s=1.5)
    parents = [add(rig, small_data, dict.fromkeys(["teacher", *ARMS], SLOW), ARMS[:2]) for _ in range(2)]
    alive = [rig.start_worker(), rig.start_worker()]
    for _ in range(3):
        time.sleep(chance.uniform(1, 2))
        victim = alive.pop(0)
        victim.send(signal.SIGKILL)
        alive.append(rig.start_worker())
    for parent_id in parents:
        rig.wait_for_end(parent_id, "succeeded")
        require_right(rig, parent_id, ARMS[:2])
    for worker in alive:
        assert worker.stop() == 0, worker.log
