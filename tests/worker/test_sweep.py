"""The sweep heals what is broken, leaves the rest alone, and may run many times at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from job_rows import OWNER
from sqlalchemy import func, insert, select, update
from worker_rig import Rig

from service.db import db_now
from service.identifiers import new_id
from service.jobs import transitions
from service.jobs.losses import give_back, lose
from service.jobs.orphans import KEEP_CACHE_S, MIN_AGE_S, remove_orphans
from service.jobs.states import JobEventType, JobState
from service.jobs.sweep import Sweeper, sweep
from service.tables import Artifact, IdempotencyKey, Job, Upload, Worker


def claim(rig: Rig, lease_s: float) -> Job:
    with rig.context.database.write() as session:
        job = transitions.claim(session, "wrk_test", lease_s)
    assert job is not None
    return job


def test_what_runs_is_left_alone(both_rig: Rig, small_data: Path) -> None:
    rig = both_rig
    job_id = rig.add_job(rig.add_dataset(small_data))
    claim(rig, 60)
    assert sweep(rig.context).lost_jobs == 0
    assert rig.job(job_id).state == JobState.RUNNING


def test_a_lost_job_waits_for_its_next_attempt(
    make_rig: Callable[..., Rig], database_url: str, small_data: Path
) -> None:
    rig = make_rig(database_url, retry_backoff_s=100)
    job_id = rig.add_job(rig.add_dataset(small_data))
    claim(rig, -1)
    assert sweep(rig.context).lost_jobs == 1
    assert sweep(rig.context).lost_jobs == 0
    job = rig.job(job_id)
    assert (job.state, job.losses, job.worker_id, job.lease_expires_at) == (JobState.QUEUED, 1, None, None)
    wait_s = job.available_at.timestamp() - time.time()
    assert 40 < wait_s <= 100
    with rig.context.database.write() as session:
        assert transitions.claim(session, "wrk_test", 1) is None


def test_many_sweeps_at_once_lose_a_job_once(both_rig: Rig, small_data: Path) -> None:
    rig = both_rig
    dataset_id = rig.add_dataset(small_data)
    jobs = [rig.add_job(dataset_id) for _ in range(5)]
    for _ in jobs:
        claim(rig, -1)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(sweep(rig.context).lost_jobs)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == len(jobs)
    assert [len(rig.events(job_id, "job.lost")) for job_id in jobs] == [1] * 5
    assert [rig.job(job_id).losses for job_id in jobs] == [1] * 5


def test_losses_end_in_giving_up_and_a_wish_to_cancel_is_granted(both_rig: Rig, small_data: Path) -> None:
    rig = both_rig
    dataset_id = rig.add_dataset(small_data)
    hopeless, unwanted = rig.add_job(dataset_id), rig.add_job(dataset_id)
    for _ in range(2):
        claim(rig, -1)
    rig.cancel(unwanted)
    with rig.context.database.write() as session:
        session.execute(update(Job).where(Job.id == hopeless).values(losses=4, progress={"phase": "student"}))
    assert sweep(rig.context).lost_jobs == 2
    job = rig.job(hopeless)
    assert job.state == JobState.FAILED
    assert job.error is not None
    assert (job.error["code"], job.error["phase"], job.error["retryable"]) == ("worker_lost", "student", True)
    assert rig.job(unwanted).state == JobState.CANCELLED


def test_the_stale_holder_changes_nothing(both_rig: Rig, small_data: Path) -> None:
    from service.errors import StaleAttemptError

    rig = both_rig
    rig.add_job(rig.add_dataset(small_data))
    stale = claim(rig, -1)
    sweep(rig.context)
    time.sleep(0.15)  # the back-off
    claim(rig, 60)
    before = rig.job(stale.id)
    for write in (
        lambda session: lose(
            session, stale.id, stale.attempt, rig.context.settings, code="crashed", message="", crash_step=1
        ),
        lambda session: give_back(session, stale.id, stale.attempt, reason="shutdown"),
        lambda session: transitions.hold(session, stale.id, stale.attempt, progress={}),
        lambda session: transitions.renew(session, stale.id, stale.attempt, 60),
        lambda session: transitions.apply(session, stale.id, JobEventType.SUCCEEDED, attempt=stale.attempt),
    ):
        try:
            with rig.context.database.write() as session:
                write(session)
        except StaleAttemptError:
            continue
        raise AssertionError("a stale attempt wrote")
    after = rig.job(stale.id)
    assert (after.version, after.state, after.attempt) == (before.version, JobState.RUNNING, 2)


def test_expired_rows_are_removed(both_rig: Rig) -> None:
    rig = both_rig
    with rig.context.database.write() as session:
        for key, age_s in (("old", 1), ("young", -60)):
            session.execute(
                insert(IdempotencyKey).values(
                    owner_id=OWNER, route="r", key=key, body_sha256="", status=201, location="", body="",
                    expires_at=db_now(-age_s),
                )
            )  # fmt: skip
        for name, age_s in (("gone", 3600), ("alive", 1)):
            session.execute(
                insert(Worker).values(
                    id=name,
                    host="h",
                    pid=1,
                    mode="polling",
                    slots=1,
                    version="1",
                    heartbeat_at=db_now(-age_s),
                )
            )
        for upload_id, age_s in (("expired", 7200), ("arriving", -60)):
            session.execute(
                insert(Upload).values(
                    id=upload_id, owner_id=OWNER, file_name="f", size_bytes=1, expires_at=db_now(-age_s)
                )
            )
            (rig.context.settings.uploads_dir / f"{upload_id}.part").write_bytes(b"x")
    assert sweep(rig.context).removed_rows == 3
    assert sweep(rig.context).removed_rows == 0
    assert [path.name for path in rig.context.settings.uploads_dir.iterdir()] == ["arriving.part"]
    with rig.context.database.read() as session:
        assert list(session.scalars(select(Upload.id))) == ["arriving"]
        assert list(session.scalars(select(IdempotencyKey.key))) == ["young"]
        assert list(session.scalars(select(Worker.id))) == ["alive"]


def test_what_waits_unheard_is_rung_for(
    make_rig: Callable[..., Rig], database_url: str, redis_url: str, small_data: Path
) -> None:
    rig = make_rig(database_url, broker_url=redis_url)
    dataset_id = rig.add_dataset(small_data)
    rig.add_dataset(small_data, state="validating")
    waiting, fresh = rig.add_job(dataset_id), rig.add_job(dataset_id)
    with rig.context.database.write() as session:
        session.execute(update(Job).where(Job.id == waiting).values(available_at=db_now(-11)))
    assert sweep(rig.context).rings == 0, "nobody listens"
    with rig.context.database.write() as session:
        session.execute(insert(Worker).values(id="w", host="h", pid=1, mode="celery", slots=1, version="1"))
    assert sweep(rig.context).rings == 1
    assert rig.job(fresh).state == JobState.QUEUED
    rig.wait(lambda: rig.context.wake_up.num_sent == 1, 10, "the ring")


def age(path: Path) -> None:
    old = time.time() - MIN_AGE_S - 60
    for found in [*path.rglob("*"), path]:
        os.utime(found, (old, old), follow_symlinks=False)


def test_files_that_nothing_refers_to_are_removed(both_rig: Rig, small_data: Path) -> None:
    rig = both_rig
    settings = rig.context.settings
    dataset_id = rig.add_dataset(small_data)
    running, failed, old_failed, done = (rig.add_job(dataset_id) for _ in range(4))
    with rig.context.database.write() as session:
        for job_id, state, days in (
            (failed, "failed", 1),
            (old_failed, "failed", 30),
            (done, "succeeded", 1),
        ):
            session.execute(
                update(Job)
                .where(Job.id == job_id)
                .values(
                    state=state, attempt=2, work_key=f"{job_id}/attempt-2", finished_at=db_now(-days * 86400)
                )
            )
        session.execute(
            update(Job)
            .where(Job.id == running)
            .values(state="running", attempt=3, work_key=f"{running}/attempt-2", lease_expires_at=db_now(60))
        )
        session.execute(
            insert(Artifact).values(
                job_id=done, attempt=2, name="a", media_type="", size_bytes=1, sha256="",
                storage_key=f"jobs/{done}/attempt-2/a",
            )
        )  # fmt: skip
    # Parts of a comparison that goes on, and of one that ended yesterday, which failed long ago; and where a
    # job that waits goes on, as did the one that it repeats, which was cancelled before it began.
    parts = {rig.add_job(dataset_id): rig.add_job(dataset_id) for _ in range(2)}
    goes_on, ended = parts.values()
    lent, between, waits = (rig.add_job(dataset_id) for _ in range(3))
    work_key, long_ago = f"{lent}/attempt-1", db_now(-30 * 86400)
    rows: dict[str, dict[str, Any]] = {
        **{
            part: {"state": "failed", "finished_at": long_ago, "parent_id": parent, "attempt": 1}
            for part, parent in parts.items()
        },
        goes_on: {"state": "running"},
        ended: {"state": "failed", "finished_at": db_now(-86400)},
        lent: {"state": "failed", "finished_at": long_ago, "attempt": 1},
        between: {"state": "cancelled", "finished_at": long_ago, "retry_of": lent, "work_key": work_key},
        waits: {"retry_of": between, "work_key": work_key},
    }
    with rig.context.database.write() as session:
        for job_id, columns in rows.items():
            session.execute(update(Job).where(Job.id == job_id).values(**columns))
    kept = [
        *(settings.work_dir / part / "attempt-1" for part in (*parts, lent)),
        settings.work_dir / running / "attempt-2",
        settings.work_dir / running / "attempt-3",
        settings.work_dir / failed / "attempt-2",
        settings.storage_dir / "jobs" / done / "attempt-2",
        settings.storage_dir / "jobs" / running / "attempt-3",
        settings.storage_dir / "datasets" / dataset_id,
    ]
    removed = [
        settings.work_dir / running / "attempt-1",
        settings.work_dir / failed / "attempt-1",
        settings.work_dir / old_failed,
        settings.work_dir / done,
        settings.work_dir / new_id("job"),
        settings.work_dir / f"validation-{dataset_id}-1",
        settings.storage_dir / "jobs" / done / "attempt-1",
        settings.storage_dir / "jobs" / running / "attempt-1",
        settings.storage_dir / "jobs" / new_id("job") / "attempt-1",
        settings.storage_dir / "datasets" / new_id("ds"),
        settings.storage_dir / "models" / new_id("mdl"),
    ]
    cached = settings.teacher_cache_dir / "outputs.safetensors"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"x")
    for folder in (*kept, *removed):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file").write_text("x")
    assert remove_orphans(rig.context) == 0, "too young"
    age(settings.work_dir)
    age(settings.storage_dir)
    young = settings.work_dir / new_id("job")
    young.mkdir()
    assert remove_orphans(rig.context) == len(removed)
    assert all((folder / "file").exists() for folder in kept)
    assert not any(folder.exists() for folder in removed)
    assert young.exists()
    assert remove_orphans(rig.context) == 0
    os.utime(cached, (time.time() - KEEP_CACHE_S - 60,) * 2)
    assert remove_orphans(rig.context) == 1
    assert not cached.exists()


def test_the_sweeper_goes_on_after_an_error(make_rig: Callable[..., Rig], small_data: Path) -> None:
    rig = make_rig(sweep_s=0.05)
    sweeper = Sweeper(rig.context)
    with rig.context.database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE jobs RENAME TO away")
    sweeper.start()
    time.sleep(0.3)
    with rig.context.database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE away RENAME TO jobs")
    job_id = rig.add_job(rig.add_dataset(small_data))
    claim(rig, -1)
    rig.wait(lambda: rig.job(job_id).losses == 1, 10, "the sweep")
    started = time.monotonic()
    sweeper.stop()
    assert time.monotonic() - started < 1
    with rig.context.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1
