"""A trainer that has done its imports waits for the next job, runs that one and ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil
import pytest
from small_job import small_spec
from worker_process import REAL, WorkerUnderTest, is_alive, running
from worker_rig import Rig

from service.settings import Settings
from worker.standby import Trainers


def on_standby(worker: WorkerUnderTest) -> int | None:
    """Process number of the trainer that waits for a job."""
    for child in psutil.Process(worker.process.pid).children():
        if "--standby" in child.cmdline():
            return child.pid
    return None


def children() -> set[psutil.Process]:
    """Of this process, which other tests may have left some."""
    return set(psutil.Process().children())


@pytest.mark.long
def test_the_next_job_is_trained_by_the_one_on_standby(rig: Rig, small_data: Path, undisturbed: Path) -> None:
    dataset_id = rig.add_dataset(small_data)
    worker = rig.start_worker(REAL, trainer_standby=True)
    with running(worker):
        first = rig.add_job(dataset_id)
        assert on_standby(worker) is None, "an idle worker costs no memory before its first job"
        rig.wait_for_end(first, "succeeded")
        waiting = rig.wait(lambda: on_standby(worker), what="a trainer on standby")

        second = rig.add_job(dataset_id)
        job = rig.wait_for_end(second, "succeeded")
        assert job.result is not None
        expected = json.loads((undisturbed / "result.json").read_text())
        assert job.result["student"]["weights_sha256"] == expected["student"]["weights_sha256"]
        assert not is_alive(waiting), "a process trains one job"

        # One that dies while it waits is nobody's loss.
        another = rig.wait(lambda: on_standby(worker), what="another on standby")
        psutil.Process(another).kill()
        third = rig.add_job(dataset_id, small_spec(name="third"))
        rig.wait_for_end(third, "succeeded")
        last = rig.wait(lambda: on_standby(worker), what="one more on standby")
    assert not is_alive(last)
    rig.require_clean_history([first, second, third])


def test_it_dies_with_its_worker_and_never_outlives_its_use(tmp_path: Path) -> None:
    lines: list[bytes] = []
    before = children()
    trainers = Trainers(Settings(data_dir=tmp_path))
    trainers.prepare()
    (child,) = children() - before
    trainers.prepare()
    assert children() - before == {child}, "one is enough"
    trainers.close()
    assert not is_alive(child.pid)

    # A broken assignment is a job that could not start, said on standard error.
    trainers.prepare()
    (child,) = children() - before
    nowhere = tmp_path / "nowhere"
    started = trainers.start(
        [], folder=nowhere, temporary=tmp_path, on_line=lines.append, on_event=lambda event: None
    )
    assert started.pid == child.pid
    assert started.wait(60) == 78
    started.close()
    assert b"No such file" in lines[-1]


def test_what_is_put_in_a_trainers_place_does_not_wait(tmp_path: Path) -> None:
    before = children()
    for settings in (
        Settings(data_dir=tmp_path, trainer_command=[sys.executable, "-c", "pass"]),
        Settings(data_dir=tmp_path, trainer_standby=False),
    ):
        trainers = Trainers(settings)
        trainers.prepare()
        assert children() == before
