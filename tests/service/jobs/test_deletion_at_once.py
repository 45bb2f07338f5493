"""Deletions that meet each other, other requests, or the death of the server."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from deletable_jobs import add_student, files_of, path, rows_of, stored, succeeded
from deployment import Deployment
from job_records import add_dataset, add_job_in, add_model, spec
from service_fixtures import ServiceUnderTest, make_app

from service.errors import NotReadyError
from service.jobs import repository
from service.jobs.inputs import hold_inputs
from service.jobs.orphans import MIN_AGE_S, remove_orphans
from service.jobs.states import JobState
from service.scopes import LOCAL_OWNER


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
