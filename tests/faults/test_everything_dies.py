"""Every process of the service is killed at once, at random moments (F40)."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from deployment import Deployment
from sqlalchemy import text

pytestmark = pytest.mark.storm
RUNS = int(os.environ.get("FDKD_FAULT_RUNS", "1"))
SEED = int(os.environ.get("FDKD_FAULT_SEED", "20261125"))


def test_nothing_is_lost_when_the_whole_machine_dies(tmp_path: Path, database_url: str) -> None:
    moments = random.Random(SEED)
    # A job that is hit once more than it may is given up, which is another test's business.
    attempts = {"FDKD_MAX_ATTEMPTS": str(RUNS + 5)}
    with Deployment(tmp_path / "data", database_url, **attempts) as service:
        service.start_worker()
        service.start_api()
        service.dataset()
        ids = [service.job() for _ in range(4)]
        undisturbed = service.finished(ids[0])
        for _ in range(RUNS):
            time.sleep(moments.uniform(0.3, 4))
            service.kill_everything()
            assert service.orphans == []
            started = time.monotonic()
            service.start_worker()
            service.start_api()
            assert time.monotonic() - started < 15
            ids.append(service.job())
        jobs = [service.finished(job_id, timeout=150) for job_id in ids]
        assert [job["state"] for job in jobs] == ["succeeded"] * len(jobs)
        # The same spec, data and seed: whatever happened on the way, every student is bit for bit the same.
        wanted = undisturbed["result"]["student"]["weights_sha256"]
        assert {job["result"]["student"]["weights_sha256"] for job in jobs} == {wanted}
        assert max(job["attempt"] for job in jobs) > 1  # some job was really hit
        for job in jobs:
            kinds = [event["type"] for event in service.events(job["id"])]
            assert kinds.count("job.succeeded") == 1
            check_artifacts(service, job["id"])
        with service.database.read() as session:
            states = session.execute(text("SELECT DISTINCT state FROM jobs")).scalars().all()
        assert states == ["succeeded"]


def check_artifacts(service: Deployment, job_id: str) -> None:
    """What is listed can be downloaded, and is what its hash says."""
    import hashlib

    listed = service.http.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]
    assert {"result.json", "student/model.safetensors", "student.zip"} <= {item["name"] for item in listed}
    for item in listed:
        body = service.http.get(item["url"]).content
        assert (len(body), hashlib.sha256(body).hexdigest()) == (item["size_bytes"], item["sha256"])
