"""The API dies, or its answer gets lost, around the commit of a job (F6, F7, F8)."""

from __future__ import annotations

import os
from pathlib import Path

import httpx2
import pytest
from cutting_proxy import CuttingProxy
from deployment import Deployment

pytestmark = pytest.mark.storm
RUNS = int(os.environ.get("FDKD_FAULT_RUNS", "1"))


def test_a_job_committed_before_the_api_died_is_there_and_runs_once(
    tmp_path: Path, database_url: str
) -> None:
    with Deployment(tmp_path / "data", database_url) as service:
        service.start_worker()
        api = service.start_api()
        service.dataset()
        api.kill()
        api.wait()
        keys = [f"key-{i}" for i in range(RUNS)]
        for key in keys:
            api = service.start_api(FDKD_FAILPOINT="jobs.after_commit")
            with pytest.raises(httpx2.TransportError):
                service.post_job(key)
            assert api.wait(10) == 137  # the fault fired
        assert service.count("jobs") == RUNS
        service.start_api()
        answers = [service.post_job(key) for key in keys]
        assert [answer.status_code for answer in answers] == [201] * RUNS
        assert {answer.headers["idempotent-replayed"] for answer in answers} == {"true"}
        ids = [answer.json()["id"] for answer in answers]
        assert len(set(ids)) == service.count("jobs") == RUNS
        for job_id in ids:
            job = service.finished(job_id)
            assert (job["state"], job["attempt"]) == ("succeeded", 1)


def test_a_job_not_yet_committed_leaves_nothing(tmp_path: Path, database_url: str) -> None:
    with Deployment(tmp_path / "data", database_url) as service:
        worker = service.start_worker()
        api = service.start_api()
        service.dataset()
        for process in (api, worker):
            process.kill()
            process.wait()
        for _ in range(RUNS):
            api = service.start_api(FDKD_FAILPOINT="jobs.before_commit")
            with pytest.raises(httpx2.TransportError):
                service.post_job("once")
            assert api.wait(10) == 137
        assert service.count("jobs") == service.count("idempotency_keys") == service.count("job_events") == 0
        service.start_api()
        first, second = service.post_job("once"), service.post_job("once")
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json()["id"] == second.json()["id"]
        assert service.count("jobs") == 1


def test_a_lost_answer_does_not_double_the_job(tmp_path: Path, database_url: str) -> None:
    jobs = 20
    with Deployment(tmp_path / "data", database_url) as service:
        worker = service.start_worker()
        service.start_api()
        service.dataset()
        worker.kill()
        worker.wait()
        with CuttingProxy(service.port) as proxy:
            address = f"http://127.0.0.1:{proxy.port}/v1/jobs"
            headers = {"Authorization": f"Bearer {service.key}"}
            ids = []
            for i in range(jobs):
                proxy.drop_replies(times=1, to=b"POST /v1/jobs")
                headers["Idempotency-Key"] = f"lost-{i}"
                with pytest.raises(httpx2.TransportError):
                    httpx2.post(address, json=service.body(), headers=headers, timeout=10, trust_env=False)
                again = httpx2.post(
                    address, json=service.body(), headers=headers, timeout=10, trust_env=False
                )
                assert again.status_code == 201, again.text
                assert again.headers["idempotent-replayed"] == "true"
                ids.append(again.json()["id"])
            assert proxy.fired == jobs
        assert len(set(ids)) == service.count("jobs") == jobs
