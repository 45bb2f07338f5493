"""Real jobs whose trainers are killed or whose checkpoints are damaged (F1, F20): the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_job import CHECKPOINT_EVERY, STEPS_PER_PHASE
from worker_process import MISBEHAVING, running
from worker_rig import Rig

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


@pytest.mark.long
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


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


@pytest.mark.long
@pytest.mark.slow
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    make_rig: Callable[..., Rig], small_data: Path, expected: dict[str, Any]
) -> None:
    rig = make_rig(retry_backoff_s=4.0)
    plan = f"kill@student:{2 * CHECKPOINT_EVERY + 1}"
    job_id = rig.add_job(rig.add_dataset(small_data), plan=plan)
    with running(rig.start_worker(MISBEHAVING)):
        rig.wait(lambda: rig.job(job_id).losses == 1, what="the loss")
        work_key = rig.job(job_id).work_key
        assert work_key == f"{job_id}/attempt-1"
        folder = rig.context.settings.work_dir / work_key / "out" / "work" / "student"
        older, newest = sorted(folder.iterdir())
        assert (older.name[-2:], newest.name[-2:]) == ("07", "14")
        flip_a_bit(newest / "state.safetensors")
        assert rig.job(job_id).attempt == 1, "too late"
        rig.wait_for_end(job_id, "succeeded")
    warnings = [event.data["message"] for event in rig.events(job_id, "job.warning")]
    assert len([message for message in warnings if "is damaged" in message]) == 1
    began = [what for _, attempt, _, what in rig.trace() if attempt == 2 and what.startswith("student from")]
    assert began == ["student from 7"]
    assert hashes(rig, job_id) == expected
