"""A local server comes up whole, heals, and goes without a trace but its data."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fdkd_command import FDKD, fdkd
from local_server import LocalServer, wait_until_gone
from scripted_server import Answer, ScriptedServer
from small_job import small_spec, write_small_data

from fdkd_client import Client

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    started = LocalServer(tmp_path / "server")
    yield started
    started.close()


def environment_of(server: LocalServer) -> dict[str, str]:
    """By which `fdkd` finds it without being told."""
    return {"XDG_STATE_HOME": server.environment["XDG_STATE_HOME"]}


def submit_long_job(client: Client, folder: Path) -> str:
    """A job of minutes that writes a checkpoint every second."""
    data = write_small_data(folder / "small.npz", rows=4000)
    client.datasets.wait(client.datasets.create(data, "small"), timeout_s=60)
    training = {"epochs": 2000, "batch_size": 64, "checkpoint_every_s": 1.0}
    teacher = {"modality": "clean", "architecture": {"name": "mlp", "width": 8}, "train": training}
    return client.jobs.create(small_spec(teacher=teacher, training=training)).id


def wait_until_training(client: Client, job_id: str, attempt: int) -> int:
    """Until some steps are done in this attempt; how many."""
    deadline = time.monotonic() + 90
    while True:
        job = client.jobs.get(job_id)
        is_ours = job.state == "running" and job.attempt == attempt
        if is_ours and job.progress is not None and job.progress.phase != "preparing":
            return job.progress.step or 0
        assert not job.is_terminal, job
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(pytest.param(number, marks=pytest.mark.long) for number in (signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_it_comes_and_goes(server: LocalServer, number: signal.Signals) -> None:
    assert stat.S_IMODE(server.note.stat().st_mode) == 0o600
    assert stat.S_IMODE((server.data_dir / "api-key").stat().st_mode) == 0o600
    assert json.loads(server.note.read_text())["pid"] == server.process.pid
    assert server.key == (server.data_dir / "api-key").read_text().strip()
    assert server.key not in server.log.read_text()
    assert fdkd("jobs", "ls", **environment_of(server)).status == 0
    running = server.processes()
    assert len(running) == 2
    assert server.stop(number) < 10
    assert server.process.returncode == 0
    assert wait_until_gone(running, 0) == []
    assert not server.note.exists()
    assert fdkd("jobs", "ls", **environment_of(server)).status == 7
    with socket.create_server(("127.0.0.1", server.port)):
        pass


@pytest.mark.slow
def test_stopped_in_the_middle_of_a_job_it_goes_on_at_the_next_start(tmp_path: Path) -> None:
    """Within 10 seconds, with a checkpoint; and whoever watches sees the job through a restart."""
    first = LocalServer(tmp_path / "server")
    second = watch = None
    try:
        with Client(first.url, first.key) as client:
            job_id = submit_long_job(client, tmp_path)
            wait_until_training(client, job_id, attempt=1)
            time.sleep(2)
            watch = subprocess.Popen(
                [FDKD, "jobs", "watch", job_id, "--output", "json"],
                env={**os.environ, "FDKD_URL": first.url, "FDKD_API_KEY": first.key},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            running = first.processes()
            assert len(running) >= 3  # API, worker, trainer
            assert first.stop() < 10
            assert first.process.returncode == 0
            assert wait_until_gone(running, 0) == []
        second = LocalServer(tmp_path / "server", port=first.port)
        with Client(second.url, second.key) as client:
            assert wait_until_training(client, job_id, attempt=2) > 0
            client.jobs.cancel(job_id)
            out, _ = watch.communicate(timeout=60)
            assert watch.returncode == 3
            assert json.loads(out)["state"] == "cancelled"
    finally:
        if watch is not None:
            watch.kill()
            watch.communicate()
        first.close()
        if second is not None:
            second.close()


@pytest.mark.long
def test_a_frozen_worker_does_not_hold_up_the_end(server: LocalServer) -> None:
    running = server.processes()
    server.child("worker").suspend()
    assert server.stop() < 10
    assert server.process.returncode == 0
    assert wait_until_gone(running, 0) == []
    assert "killed" in server.log.read_text()


def test_asked_twice_it_waits_for_nothing(server: LocalServer) -> None:
    running = server.processes()
    server.child("worker").suspend()
    server.process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert server.process.poll() is None
    assert server.stop() < 3
    assert wait_until_gone(running, 0) == []


@pytest.mark.parametrize("module", [pytest.param("worker", marks=pytest.mark.long), "service"])
def test_what_dies_is_started_again(server: LocalServer, module: str) -> None:
    before = server.child(module)
    before.kill()
    deadline = time.monotonic() + 20
    while (after := server.child(module)).pid == before.pid:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "killed by SIGKILL; starting it again" in server.log.read_text()
    with Client(server.url, server.key) as client:
        assert client.version().api == "v1"
    assert after.is_running()


def test_nothing_outlives_a_killed_supervisor(server: LocalServer) -> None:
    running = server.processes()
    assert len(running) == 2
    server.process.kill()
    server.process.wait()
    assert wait_until_gone(running, 15) == []


def test_a_data_folder_has_one_server(server: LocalServer) -> None:
    ran = fdkd("serve", "--port", "0", "--data-dir", server.data_dir)
    assert ran.status == 1
    assert str(server.process.pid) in ran.stderr
    assert server.url in ran.stderr
    assert "--data-dir" in ran.stderr


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = fdkd("serve", "--port", str(port), "--data-dir", tmp_path / "data")
    assert ran.status == 1
    assert str(port) in ran.stderr
    assert "--port" in ran.stderr
    assert not (tmp_path / "data").exists()


def test_a_host_that_is_none(tmp_path: Path) -> None:
    ran = fdkd("serve", "--host", "256.1.1.1", "--port", "0", "--data-dir", tmp_path / "data")
    assert ran.status == 1
    assert "256.1.1.1" in ran.stderr


def test_a_data_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = fdkd("serve", "--port", "0", "--data-dir", tmp_path / "file" / "data")
    assert ran.status == 1
    assert "cannot be used" in ran.stderr


def test_others_are_let_in_only_with_keys(tmp_path: Path) -> None:
    ran = fdkd("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", tmp_path / "data")
    assert ran.status == 1
    assert "keys create" in ran.stderr
    assert "serves" not in ran.stdout


def test_keys_come_and_go(server: LocalServer) -> None:
    made = fdkd("keys", "create", "--name", "ci", "--scope", "read", "--data-dir", server.data_dir)
    assert made.status == 0, made.stderr
    key = made.stdout.strip()
    settings = {"FDKD_URL": server.url, "FDKD_API_KEY": key}
    assert fdkd("jobs", "ls", **settings).status == 0
    listed = fdkd("keys", "ls", "--data-dir", server.data_dir)
    (line,) = [line for line in listed.stdout.splitlines() if line.endswith("ci")]
    assert key not in listed.stdout
    key_id = line.split()[0]
    assert fdkd("keys", "revoke", key_id, "--data-dir", server.data_dir).status == 0
    deadline = time.monotonic() + 20
    while (ran := fdkd("jobs", "ls", **settings)).status == 0:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert ran.status == 6
    assert "FDKD_API_KEY" in ran.stderr


def test_migrate_alone(tmp_path: Path) -> None:
    assert fdkd("migrate", "--data-dir", tmp_path / "data").status == 0
    assert (tmp_path / "data" / "fdkd.db").exists()


@pytest.fixture(scope="module")
def client_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages as `pip install fdkd[client]` would bring them."""
    folder = tmp_path_factory.mktemp("client-only")
    server_only = (
        "fastapi",
        "starlette",
        "uvicorn",
        "sqlalchemy",
        "alembic",
        "celery",
        "kombu",
        "redis",
        "psycopg",
    )
    core_only = (
        "torch",
        "numpy",
        "onnx",
        "safetensors",
        "pyarrow",
        "pil",
        "soundfile",
        "tokenizers",
        "sklearn",
    )
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        name = path.name.lower()
        if path.suffix != ".pth" and not name.startswith((*server_only, *core_only, "pydantic_settings")):
            (folder / path.name).symlink_to(path)
    return folder


def run_client_only(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    script = "import sys; sys.path[:0] = sys.argv.pop(1).split(); from fdkd_client.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, f"{folder} {ROOT}", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_where_only_the_client_is_installed_it_says_so(client_only: Path, tmp_path: Path) -> None:
    ran = run_client_only(client_only, "serve", "--data-dir", str(tmp_path / "data"))
    assert ran.returncode == 1
    assert "pip install 'fdkd[client,service,core]'" in ran.stderr
    assert run_client_only(client_only, "worker").returncode == 1
    assert run_client_only(client_only, "keys", "ls").returncode == 1


def test_where_only_the_client_is_installed_it_works(
    client_only: Path, scripted: ScriptedServer, tmp_path: Path
) -> None:
    scripted.on("GET", "/v1/jobs", Answer(200, {"data": [], "has_more": False, "next_cursor": None}))
    ran = run_client_only(client_only, "jobs", "ls", FDKD_URL=scripted.url, FDKD_API_KEY="k")
    assert ran.returncode == 0, ran.stderr
    (tmp_path / "spec.yaml").write_text("kind: distill\n")
    ran = run_client_only(client_only, "jobs", "run", str(tmp_path / "spec.yaml"))
    assert ran.returncode == 5, ran.stderr
