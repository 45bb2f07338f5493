"""Real jobs whose trainers are killed or whose checkpoints are damaged (F1, F20, F21): the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_job import CHECKPOINT_EVERY, STEPS_PER_PHASE, small_spec
from sqlalchemy import update
from worker_rig import MISBEHAVING, Rig, running

from service.tables import Job

LAST = STEPS_PER_PHASE - 1


def hashes(rig: Rig, job_id: str) -> dict[str, Any]:
    """Of all that must not depend on interruptions."""
    files = json.loads(rig.read_artifact(job_id, "student/manifest.json"))["files"]
    del files["README.md"]  # it shows seconds, and the name that holds the plan
    result = rig.job(job_id).result
    assert result is not None
    return {"files": files, "control": result["control"]["weights_sha256"], "test": result["student"]["test"]}


@pytest.fixture(scope="module")
def expected(undisturbed: Path) -> dict[str, Any]:
    result = json.loads((undisturbed / "result.json").read_text())
    files = json.loads((undisturbed / "student" / "manifest.json").read_text())["files"]
    del files["README.md"]
    return {"files": files, "control": result["control"]["weights_sha256"], "test": result["student"]["test"]}


@pytest.mark.slow
def test_a_job_killed_at_seven_points_gives_the_same_bits(
    make_rig: Callable[..., Rig], small_data: Path, expected: dict[str, Any]
) -> None:
    """One job, killed in each of its first seven attempts, each time a little later."""
    rig = make_rig(max_attempts=20)
    steps = (0, 1, CHECKPOINT_EVERY - 1, CHECKPOINT_EVERY, CHECKPOINT_EVERY + 1, LAST)
    moments = [*(f"student:{step}" for step in steps), "finalise"]
    plan = " ".join(f"kill@{moment}#{number}" for number, moment in enumerate(moments, 1))
    job_id = rig.add_job(rig.add_dataset(small_data), plan=plan)
    with running(rig.start_worker(MISBEHAVING)):
        job = rig.wait_for_end(job_id, "succeeded", timeout_s=120)
    assert rig.fired(job_id) == [f"kill@{moment}" for moment in moments]
    assert (job.attempt, job.losses) == (8, 7)
    assert hashes(rig, job_id) == expected
    # The student's phase began each time at the checkpoint before the kill: at most an interval was lost.
    begun = [what.split()[-1] for _, _, _, what in rig.trace() if what.startswith("student from")]
    assert begun == ["0", "0", "0", "0", "7", "7", "14", str(STEPS_PER_PHASE)]
    # The curve has every step once.
    metrics = [row.step for row in rig.metrics(job_id) if (row.phase, row.kind) == ("student", "step")]
    assert metrics == list(range(1, STEPS_PER_PHASE + 1))
    rig.require_clean_history([job_id])


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    match how:
        case "bit":
            data[len(data) // 2] ^= 1
        case "empty":
            data.clear()
    # In place: the file is linked from the attempt before as well.
    path.chmod(0o600)
    path.write_bytes(data)


def die_after_two_checkpoints(rig: Rig, dataset_id: str, **changes: Any) -> tuple[str, Path]:
    """A job whose next attempt waits; returns it and the folder of the student's checkpoints."""
    job_id = rig.add_job(dataset_id, small_spec(name=f"kill@student:{2 * CHECKPOINT_EVERY + 1}", **changes))
    with running(rig.start_worker(MISBEHAVING, retry_backoff_s=600)):
        rig.wait(lambda: rig.job(job_id).losses == 1, what="the loss")
    job = rig.job(job_id)
    assert job.work_key == f"{job_id}/attempt-1"
    folder = rig.context.settings.work_dir / job.work_key / "out" / "work" / "student"
    assert sorted(path.name[-2:] for path in folder.iterdir()) == ["07", "14"]
    return job_id, folder


def end_the_wait(rig: Rig, job_id: str) -> None:
    with rig.context.database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(available_at=Job.created_at))


@pytest.mark.slow
@pytest.mark.parametrize(("how", "how_many"), [("bit", 1), ("empty", 2)])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    rig: Rig, small_data: Path, expected: dict[str, Any], how: str, how_many: int
) -> None:
    job_id, folder = die_after_two_checkpoints(rig, rig.add_dataset(small_data))
    for path in sorted(folder.iterdir())[-how_many:]:
        damage(path / "state.safetensors", how)
    end_the_wait(rig, job_id)
    with running(rig.start_worker(MISBEHAVING)):
        rig.wait_for_end(job_id, "succeeded")
    warnings = [event.data["message"] for event in rig.events(job_id, "job.warning")]
    assert len([message for message in warnings if "is damaged" in message]) == how_many
    began = [
        what for job, attempt, _, what in rig.trace() if attempt == 2 and what.startswith("student from")
    ]
    assert began == ["student from 7" if how_many == 1 else "student from 0"]
    assert hashes(rig, job_id) == expected


@pytest.mark.slow
def test_checkpoints_of_another_job_are_refused(rig: Rig, small_data: Path, expected: dict[str, Any]) -> None:
    """They are not used, and the job starts over instead of failing for what is not its user's fault."""
    dataset_id = rig.add_dataset(small_data)
    job_id, folder = die_after_two_checkpoints(rig, dataset_id)
    _, foreign = die_after_two_checkpoints(rig, dataset_id, controls={"no_teacher": False})
    folder.rename(folder.with_name("aside"))
    foreign.rename(folder)
    end_the_wait(rig, job_id)
    with running(rig.start_worker(MISBEHAVING)):
        rig.wait_for_end(job_id, "succeeded")
    warnings = [event.data["message"] for event in rig.events(job_id, "job.warning")]
    assert len([text for text in warnings if "starts over" in text and "belongs to another run" in text]) == 1
    assert hashes(rig, job_id) == expected
