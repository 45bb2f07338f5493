"""What the command says beside its results: of what was refused, ignored, full or missing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from fdkd_command import FDKD, fdkd
from scripted_server import Answer, ScriptedServer, problem

SPEC = """\
kind: distill
dataset: small
task: {kind: classification}
teacher: {modality: clean}
student: {modality: wave}
"""
JOB: dict[str, Any] = {
    "id": "job_1", "kind": "distill", "name": "small job", "state": "queued", "spec": {}, "attempt": 0,
    "created_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
DATASET: dict[str, Any] = {
    "id": "ds_1", "name": "small", "state": "validating", "format": "zip", "size_bytes": 4,
    "sha256": "0" * 64, "created_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
PATH = "/v1/jobs/job_1"
NONE: dict[str, Any] = {"data": [], "has_more": False, "next_cursor": None}
READY = {"status": "ok", "checks": {"database": "ok", "storage": "ok", "workers": "ok"}}
DEGRADED = {"status": "degraded", "checks": {"database": "ok", "storage": "ok", "workers": "none"}}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture(autouse=True)
def environment(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDKD_URL", scripted.url)
    monkeypatch.setenv("FDKD_API_KEY", "fdkd_key")


@pytest.mark.parametrize("code", ["", " [missing_column]"], ids=["now", "older server"])
@pytest.mark.parametrize("length", [10, 800])
def test_a_single_problem_is_told_once(scripted: ScriptedServer, spec: Path, length: int, code: str) -> None:
    detail = "there is no column 'eeg'" + "x" * length
    only = {"code": "missing_column", "detail": detail, "pointer": "/spec/student/modality"}
    headline = f"/spec/student/modality: {detail}{code}"
    if len(headline) > 600:  # as the service cuts it
        headline = headline[:597] + "..."
    refusal = problem(422, "missing_column", detail=headline, errors=[only])
    scripted.on("POST", "/v1/jobs", refusal)
    ran = fdkd("jobs", "run", spec)
    assert ran.status == 5
    assert ran.stderr.count("/spec/student/modality") == 1
    assert ran.stderr.count("there is no column") == 1
    assert detail in ran.stderr
    assert ran.stderr.count("[missing_column]") == 1


def test_several_problems_are_told_under_a_headline(scripted: ScriptedServer, spec: Path) -> None:
    listed = [{"code": "c", "detail": f"wrong {n}", "pointer": f"/spec/{n}"} for n in range(2)]
    refusal = problem(422, "c", detail="2 problems were found; see errors.", errors=listed)
    scripted.on("POST", "/v1/jobs", refusal)
    told = fdkd("jobs", "run", spec).stderr
    assert all(told.count(text) == 1 for text in ("2 problems", "wrong 0", "wrong 1"))


@pytest.mark.parametrize("arguments", [("jobs", "ls"), ("jobs", "show", "job_1"), ("--version",)])
def test_output_that_cannot_be_written(scripted: ScriptedServer, arguments: tuple[str, ...]) -> None:
    scripted.on("GET", "/v1/jobs", Answer(200, {**NONE, "data": [JOB]}))
    scripted.on("GET", PATH, Answer(200, JOB))
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [FDKD, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert ran.returncode == 2
    assert ran.stderr == "error: the output cannot be written: No space left on device\n"


LACKING = {"ascii": "caf\\xe9 \\u732b", "latin-1": "caf\xe9 \\u732b", "utf-8": "caf\xe9 \u732b"}
"""What an output in each encoding shows of the name `CAT`."""
CAT = "caf\xe9 \u732b"


@pytest.mark.parametrize("encoding", LACKING)
@pytest.mark.parametrize("arguments", [("jobs", "ls"), ("jobs", "show", "job_1")])
def test_a_terminal_that_lacks_the_letters_of_a_name(
    scripted: ScriptedServer, arguments: tuple[str, ...], encoding: str
) -> None:
    job = {**JOB, "name": CAT}
    scripted.on("GET", "/v1/jobs", Answer(200, {**NONE, "data": [job]}))
    scripted.on("GET", PATH, Answer(200, job))
    ran = subprocess.run(
        [FDKD, *arguments], capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=False
    )
    assert (ran.returncode, ran.stderr.decode()) == (0, "")
    assert LACKING[encoding] in ran.stdout.decode(encoding)


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs", "run", "SPEC", "--timeout", "5"),
        ("jobs", "retry", "job_1", "--timeout", "5"),
        ("datasets", "create", "SPEC", "--name", "x", "--timeout", "5"),
        ("models", "upload", "SPEC", "--name", "x", "--timeout", "5"),
    ],
)
def test_a_timeout_of_no_wait_is_refused(
    scripted: ScriptedServer, spec: Path, arguments: tuple[str, ...]
) -> None:
    ran = fdkd(*(spec if argument == "SPEC" else argument for argument in arguments))
    assert ran.status == 2
    assert "--wait" in ran.stderr
    assert scripted.requests == []


def test_lists_of_jobs_are_filtered(scripted: ScriptedServer) -> None:
    scripted.on("GET", "/v1/jobs", Answer(200, NONE))
    scripted.on("GET", "/v1/datasets", Answer(200, {**NONE, "data": [DATASET]}))
    scripted.on("GET", "/v1/datasets/ds_1", Answer(200, DATASET))
    ran = fdkd("jobs", "ls", "--kind", "train", "--name", "small job", "--dataset", "small")
    assert ran.status == 0, ran.stderr
    assert "no such jobs" in ran.stderr
    (asked,) = [request.query for request in scripted.requests if request.path == "/v1/jobs"]
    found = {name: values[0] for name, values in parse_qs(asked).items()}
    assert found == {"kind": "train", "name": "small job", "dataset_id": "ds_1", "limit": "20"}


@pytest.mark.parametrize(
    ("answer", "is_told"),
    [(Answer(200, DEGRADED), True), (Answer(200, READY), False), (problem(404, "not_found"), False)],
)
def test_a_wait_for_a_worker_that_is_not_there(
    scripted: ScriptedServer, spec: Path, tmp_path: Path, answer: Answer, is_told: bool
) -> None:
    scripted.on("GET", "/readyz", answer)
    scripted.on("POST", "/v1/jobs", Answer(201, JOB))
    scripted.on("GET", PATH, Answer(200, {**JOB, "state": "cancelled"}))
    assert ("No worker runs" in fdkd("jobs", "run", spec, "--wait").stderr) == is_told
    assert "No worker runs" not in fdkd("jobs", "run", spec).stderr
    upload = {
        "id": "upl_1", "file_name": "data.zip", "size_bytes": 4, "offset_bytes": 4, "sha256": "0" * 64,
        "expires_at": "2026-01-01T00:00:00Z", "created_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    (tmp_path / "data.zip").write_bytes(b"PK\x03\x04")
    scripted.on("GET", "/v1/datasets", Answer(200, NONE))
    scripted.on("POST", "/v1/uploads", Answer(201, upload))
    scripted.on("POST", "/v1/datasets", Answer(201, DATASET))
    scripted.on("GET", "/v1/datasets/ds_1", Answer(200, {**DATASET, "state": "ready"}))
    ran = fdkd("datasets", "create", tmp_path / "data.zip", "--name", "small", "--wait")
    assert ran.status == 0, ran.stderr
    assert ("No worker runs" in ran.stderr) == is_told


@pytest.mark.parametrize(("code", "is_retryable"), [("gate_failed", False), ("storage_full", True)])
def test_a_retry_that_will_end_as_before(scripted: ScriptedServer, code: str, is_retryable: bool) -> None:
    error = {"code": code, "message": "m", "phase": "finalise", "retryable": is_retryable}
    scripted.on("GET", PATH, Answer(200, {**JOB, "state": "failed", "error": error}))
    scripted.on("POST", f"{PATH}/retry", Answer(201, {**JOB, "id": "job_2", "retry_of": "job_1"}))
    ran = fdkd("jobs", "retry", "job_1")
    assert (ran.status, ran.stdout) == (0, "job_2\n")
    assert ("will most likely fail again" in ran.stderr) != is_retryable
