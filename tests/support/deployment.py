"""The whole service as it is deployed: API and workers as processes, a real database, a client."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, Self

import httpx2
import psutil
from service_fixtures import make_key, prepare_database
from small_job import small_spec, write_small_data
from sqlalchemy import text
from warm_process import WarmProcess

from service.__main__ import main as service_main
from service.db import Database
from service.settings import Settings
from worker.__main__ import main as worker_main

MAINS = {"service": service_main, "worker": worker_main}
QUICK = {
    "FDKD_LEASE_S": "3",
    "FDKD_HEARTBEAT_S": "0.5",
    "FDKD_SWEEP_S": "0.5",
    "FDKD_POLL_S": "0.2",
    "FDKD_CONTROL_POLL_S": "0.3",
    "FDKD_RETRY_BACKOFF_S": "0.1",
    "FDKD_TRAINER_THREADS": "1",
    "FDKD_TRAINER_STANDBY": "false",
    "FDKD_DEVICE": "cpu",
}
"""The intervals of production, shortened so that a test sees a lease run out."""


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Deployment:
    """API and workers over one database and data folder; everything is killed at the end."""

    def __init__(self, folder: Path, database_url: str, broker_url: str = "", **variables: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FDKD_")},
            **QUICK,
            "FDKD_DATA_DIR": str(folder),
            "FDKD_DATABASE_URL": database_url,
            "FDKD_BROKER_URL": broker_url,
            **variables,
        }
        self.processes: list[WarmProcess] = []
        self.log_path = folder.parent / f"{folder.name}.log"
        settings = Settings(data_dir=folder, database_url=database_url)
        prepare_database(settings)
        self.database = Database(settings.resolved_database_url)
        self.key = make_key(self.database)
        self.http = httpx2.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=30, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_everything()
        self.http.close()
        self.database.close()

    def start(self, *arguments: str, **variables: str) -> WarmProcess:
        """A process of the deployment."""
        module, *rest = arguments
        process = WarmProcess(MAINS[module], *rest, env=self.environment | variables, log=self.log_path)
        self.processes.append(process)
        return process

    def start_api(self, *, ready: bool = True, **variables: str) -> WarmProcess:
        """Starts the API and waits until it answers."""
        process = self.start("service", "api", "--port", str(self.port), **variables)
        deadline = time.monotonic() + 30
        while ready:
            assert process.poll() is None, self.read_log()
            assert time.monotonic() < deadline, self.read_log()
            try:
                if self.http.get("/livez").status_code == 200:
                    break
            except httpx2.TransportError:
                time.sleep(0.05)
        return process

    def start_worker(self, **variables: str) -> WarmProcess:
        """Starts a worker."""
        return self.start("worker", **variables)

    def kill_everything(self) -> None:
        """SIGKILL for every process of the deployment and its children, all at once."""
        doomed = [process for process in self.processes if process.poll() is None]
        children = []
        for process in doomed:
            try:
                children += psutil.Process(process.pid).children(recursive=True)
            except psutil.NoSuchProcess:
                continue
        for process in doomed:
            process.send_signal(signal.SIGKILL)
        for process in doomed:
            process.wait(10)
        # What is left now did not die with its parent by itself, which is a test of its own.
        self.orphans = psutil.wait_procs(children, timeout=3)[1]
        for orphan in self.orphans:
            orphan.kill()
        self.processes.clear()

    def read_log(self) -> str:
        """The end of what the processes said."""
        return self.log_path.read_text(errors="replace")[-6000:]

    def dataset(self, name: str = "small") -> str:
        """Uploads the small dataset and waits until it is ready; a worker must be running."""
        path = write_small_data(self.folder / "small.npz")
        made = self.http.post(
            "/v1/datasets", data={"name": name}, files={"file": ("small.npz", path.read_bytes())}
        )
        assert made.status_code == 201, made.text
        found = self.wait(f"/v1/datasets/{made.json()['id']}", lambda body: body["state"] != "validating")
        assert found["state"] == "ready", found
        return str(found["id"])

    def body(self, **changes: Any) -> dict[str, Any]:
        """The small job as a request body."""
        return {"spec": small_spec(**changes).model_dump(mode="json")}

    def post_job(self, key: str | None = None, **changes: Any) -> httpx2.Response:
        """One try to create the small job."""
        headers = {"Idempotency-Key": key} if key else {}
        return self.http.post("/v1/jobs", json=self.body(**changes), headers=headers)

    def job(self, **changes: Any) -> str:
        """Creates the small job."""
        answer = self.post_job(**changes)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def wait(self, path: str, until: Any, timeout: float = 90) -> dict[str, Any]:
        """Asks until the answer satisfies `until`; an API that is down is asked again."""
        deadline = time.monotonic() + timeout
        body: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                answer = self.http.get(path)
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200:
                    body = answer.json()
                    if until(body):
                        return body
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"{path} is still {json.dumps(body)[:2000]}\n{self.read_log()}")

    def finished(self, job_id: str, timeout: float = 90) -> dict[str, Any]:
        """The job once it has ended."""
        return self.wait(
            f"/v1/jobs/{job_id}", lambda body: body["state"] in ("succeeded", "failed", "cancelled"), timeout
        )

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Everything that happened to a job."""
        return list(self.http.get(f"/v1/jobs/{job_id}/events", params={"limit": 100}).json()["data"])

    def count(self, table: str) -> int:
        """Rows of a table."""
        with self.database.read() as session:
            return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
