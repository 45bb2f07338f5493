"""The command against answers that a test writes down: exit statuses, streams, wording."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from fdkd_command import FDKD, Terminal, fdkd
from scripted_server import Answer, ScriptedServer, problem

SPEC = """\
kind: distill
dataset: small
task: {kind: classification}
teacher: {modality: clean}
student: {modality: wave}
"""
JOB: dict[str, Any] = {
    "id": "job_1",
    "kind": "distill",
    "name": "small job",
    "state": "queued",
    "spec": {"dataset": "small", "teacher": {"modality": "clean"}, "student": {"modality": "wave"}},
    "attempt": 0,
    "created_at": "2026-01-01T00:00:00Z",
}
RUNNING = {
    **JOB,
    "state": "running",
    "attempt": 1,
    "started_at": "2026-01-01T00:00:01Z",
    "progress": {"phase": "student", "step": 5, "total_steps": 20, "epoch": 1, "eta_s": 90},
}
SPLIT = {"accuracy": 0.91, "macro_f1": 0.9, "loss": 0.3, "num_samples": 100}
MODEL = {
    "modality": "wave",
    "architecture": {"name": "conv1d", "width": 6},
    "parameters": 1234,
    "multiply_adds": 5,
    "size_bytes": 5000,
    "val": SPLIT,
    "test": SPLIT,
    "seconds": 61.0,
    "epochs": 3,
    "best_epoch": 3,
    "weights_sha256": "0" * 64,
}
RESULT = {
    "kind": "distill",
    "name": "small job",
    "spec_sha256": "0" * 64,
    "data_sha256": "0" * 64,
    "classes": 3,
    "teacher": {**MODEL, "modality": "clean"},
    "student": MODEL,
    "control": {**MODEL, "test": {**SPLIT, "accuracy": 0.85}},
    "uplift": {
        "val_accuracy": 0.05,
        "test_accuracy": 0.06,
        "test_macro_f1": 0.05,
        "teacher_gap_closed": 0.5,
        "standard_error": 0.02,
    },
    "bundle": "student",
    "device": "cpu",
    "threads": 1,
    "seconds": 100.0,
}
SUCCEEDED = {
    **JOB,
    "state": "succeeded",
    "result": RESULT,
    "models": {"student": "mdl_1", "teacher": "mdl_2"},
}
FAILED = {
    **JOB,
    "state": "failed",
    "error": {"code": "diverged", "message": "became nan", "phase": "student", "retryable": False},
}
PATH = "/v1/jobs/job_1"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture(autouse=True)
def environment(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDKD_URL", scripted.url)
    monkeypatch.setenv("FDKD_API_KEY", "fdkd_key")


@pytest.mark.parametrize(
    ("final", "status"),
    [(SUCCEEDED, 0), (FAILED, 1), ({**JOB, "state": "cancelled"}, 3)],
)
def test_the_job_decides_the_exit_status(
    scripted: ScriptedServer, spec: Path, final: dict[str, Any], status: int
) -> None:
    scripted.on("POST", "/v1/jobs", Answer(201, JOB))
    scripted.on("GET", PATH, Answer(200, JOB), Answer(200, RUNNING), Answer(200, final))
    ran = fdkd("jobs", "run", spec, "--wait")
    assert ran.status == status, ran.stderr
    assert final["state"] in ran.stdout
    assert "training the student" in ran.stderr
    assert "waiting for a worker" not in ran.stdout
    ran = fdkd("jobs", "watch", "job_1", "--output", "json")
    assert ran.status == status
    assert json.loads(ran.stdout)["state"] == final["state"]


def test_what_is_sent_is_what_was_written(scripted: ScriptedServer, spec: Path) -> None:
    scripted.on("POST", "/v1/jobs", Answer(201, JOB))
    ran = fdkd(
        "jobs", "run", spec, "--metadata", "team=a=b", "--metadata", "note=", "--idempotency-key", "mine"
    )
    assert (ran.status, ran.stdout) == (0, "job_1\n")
    assert "fdkd jobs watch job_1" in ran.stderr
    sent = json.loads(scripted.requests[0].body)
    assert sent["metadata"] == {"team": "a=b", "note": ""}
    assert sent["spec"] == {
        "kind": "distill",
        "dataset": "small",
        "task": {"kind": "classification"},
        "teacher": {"modality": "clean"},
        "student": {"modality": "wave"},
    }
    assert scripted.requests[0].headers["idempotency-key"] == "mine"


def test_a_wrong_spec_is_told_before_anything_is_sent(scripted: ScriptedServer) -> None:
    ran = fdkd("jobs", "run", "-", stdin=SPEC + "training: {epochs: seven}\nnot: here\n")
    assert ran.status == 5
    assert "/training/epochs" in ran.stderr
    assert "'seven'" in ran.stderr
    assert "/not" in ran.stderr
    assert "What came on stdin is not a valid spec:" in ran.stderr
    assert ran.stdout == ""
    assert scripted.requests == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (problem(400, "malformed_request"), 5),
        (problem(409, "not_ready"), 5),
        (problem(413, "too_large"), 5),
        (problem(422, "invalid_request", errors=[{"pointer": "/spec/x", "detail": "d", "code": "c"}]), 5),
        (problem(401, "unauthenticated"), 6),
        (problem(403, "quota_exceeded"), 6),
        (problem(429, "queue_full"), 6),
        (problem(404, "not_found"), 5),
        (problem(500, "internal", request_id="r77"), 7),
        (Answer(200, b"<html>"), 7),
        (Answer(0), 7),
    ],
)
def test_a_refusal_decides_the_exit_status(
    scripted: ScriptedServer, spec: Path, answer: Answer, status: int
) -> None:
    scripted.on("POST", "/v1/jobs", answer)
    ran = fdkd("jobs", "run", spec)
    assert ran.status == status, ran.stderr
    assert ran.stdout == ""
    assert ran.stderr
    assert "Traceback" not in ran.stderr


def test_nobody_there(spec: Path) -> None:
    ran = fdkd("jobs", "run", spec, FDKD_URL="http://127.0.0.1:1")
    assert ran.status == 7
    assert "fdkd serve" in ran.stderr


def test_no_server_named(spec: Path) -> None:
    ran = fdkd("jobs", "ls", FDKD_URL="")
    assert ran.status == 7
    assert "fdkd serve" in ran.stderr


def test_the_wait_is_over(scripted: ScriptedServer, spec: Path) -> None:
    scripted.on("POST", "/v1/jobs", Answer(201, JOB))
    scripted.on("GET", PATH, Answer(200, RUNNING))
    ran = fdkd("jobs", "run", spec, "--wait", "--timeout", "0.5")
    assert ran.status == 4
    assert "still running" in ran.stderr
    assert "fdkd jobs watch job_1" in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs", "run"),
        ("jobs", "run", "missing.yaml"),
        ("jobs", "nothing"),
        ("jobs", "run", "spec", "--metadata", "x"),
        ("jobs", "ls", "--output", "xml"),
        ("jobs", "ls", "--limit", "0"),
        ("datasets", "create", "/nowhere", "--name", "x"),
        ("models", "upload", "/nowhere", "--name", "x", "--architecture", "{"),
    ],
)
def test_usage(arguments: tuple[str, ...]) -> None:
    ran = fdkd(*arguments)
    assert ran.status == 2
    assert "Traceback" not in ran.stderr


def test_validate_only(scripted: ScriptedServer, spec: Path) -> None:
    found = {"valid": True, "spec": {}, "dataset_id": "ds_1", "student_parameters": 9000, "warnings": ["few"]}
    scripted.on("POST", "/v1/jobs", Answer(200, found))
    ran = fdkd("jobs", "run", spec, "--validate-only")
    assert (ran.status, ran.stdout) == (0, "valid: it could start now; the student has 9,000 parameters\n")
    assert "few" in ran.stderr
    assert scripted.requests[0].query == "validate_only=true"


@pytest.mark.parametrize(
    ("students", "teachers", "told"),
    [
        (77, 1, "cost: up to 77 trainings of a student, after 1 of a teacher\n"),
        (1, 0, "cost: up to 1 training of a student\n"),
        (0, 0, ""),
    ],
)
def test_validation_tells_what_the_job_would_cost(
    scripted: ScriptedServer, spec: Path, students: int, teachers: int, told: str
) -> None:
    costs = {"student_trainings": students, "teacher_trainings": teachers}
    scripted.on("POST", "/v1/jobs", Answer(200, {"valid": True, **costs}))
    ran = fdkd("jobs", "run", spec, "--validate-only")
    assert (ran.status, ran.stdout) == (0, "valid: it could start now\n" + told)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_ctrl_c_detaches(scripted: ScriptedServer, is_terminal: bool) -> None:
    scripted.on("GET", PATH, Answer(200, RUNNING))
    if is_terminal:
        terminal = Terminal("jobs", "watch", "job_1")
        terminal.read_until("5/20")
        terminal.press_ctrl_c()
        status, said = terminal.wait(), terminal.text
    else:
        process = subprocess.Popen(
            [FDKD, "jobs", "watch", "job_1"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        assert "training the student" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=20)
        status = process.returncode
        assert out == ""
    assert status == 130
    assert "Detached" in said
    assert "fdkd jobs watch job_1" in said
    assert all(request.method == "GET" for request in scripted.requests)


def test_lines_now_and_then_where_there_is_no_terminal(scripted: ScriptedServer) -> None:
    steps = [{**RUNNING, "progress": {**RUNNING["progress"], "step": n}} for n in range(50)]
    scripted.on("GET", PATH, *(Answer(200, step) for step in steps))
    process = subprocess.Popen([FDKD, "jobs", "watch", "job_1"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    started = time.monotonic()
    lines = [process.stderr.readline() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert time.monotonic() - started > 4
    assert re.search(r"step \d+ of 20, epoch 1, about 1m 30s left", lines[1])
    assert "\x1b" not in "".join(lines)


def test_whoever_watches_learns_that_the_server_is_away_and_back(scripted: ScriptedServer) -> None:
    scripted.on("GET", PATH, Answer(200, RUNNING), *[problem(503, "unavailable")] * 3, Answer(200, SUCCEEDED))
    ran = fdkd("jobs", "watch", "job_1", told_after_s=0.2)
    assert ran.status == 0
    said = ran.stderr.splitlines()
    gone = next(n for n, line in enumerate(said) if line.startswith("no answer from the server"))
    assert "asking again for 2m 00s" in said[gone]
    assert "unavailable" in said[gone]
    assert said[gone + 1] == "the server answers again"


@pytest.mark.parametrize("columns", [80, 160])
def test_a_job_at_a_terminal_fits_it(scripted: ScriptedServer, columns: int) -> None:
    scripted.on("GET", PATH, Answer(200, SUCCEEDED))
    terminal = Terminal("jobs", "show", "job_1", columns=columns)
    assert terminal.wait() == 0
    assert "uplift" in terminal.text
    assert "+6.0 points" in terminal.text
    assert "±4.0" in terminal.text
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.text).splitlines()
    assert max(len(line) for line in lines) <= columns
    table = [line for line in lines if line.startswith(("teacher", "student", "control"))]
    assert [line.split()[0] for line in table] == ["teacher", "student", "control"]
    assert all("…" not in line for line in table)


def test_a_failure_says_what_to_do(scripted: ScriptedServer) -> None:
    scripted.on("GET", PATH, Answer(200, FAILED))
    ran = fdkd("jobs", "show", "job_1")
    assert ran.status == 0
    assert "became nan" in ran.stdout
    assert "Lower training.optimizer.lr" in ran.stdout


def test_lists_keep_whole_ids_where_a_script_reads_them(scripted: ScriptedServer) -> None:
    jobs = [{**JOB, "id": "job_" + "x" * 26, "name": "n" * 120}]
    scripted.on("GET", "/v1/jobs", Answer(200, {"data": jobs, "has_more": False, "next_cursor": None}))
    ran = fdkd("jobs", "ls")
    assert "job_" + "x" * 26 in ran.stdout
    assert "n" * 120 in ran.stdout
    assert json.loads(fdkd("jobs", "ls", "--output", "json").stdout)[0]["name"] == "n" * 120


def test_empty_lists_say_what_comes_next(scripted: ScriptedServer) -> None:
    empty = Answer(200, {"data": [], "has_more": False, "next_cursor": None})
    for group in ("jobs", "datasets", "models"):
        scripted.on("GET", f"/v1/{group}", empty)
        ran = fdkd(group, "ls")
        assert (ran.status, ran.stdout) == (0, "")
        assert "yet" in ran.stderr
        assert fdkd(group, "ls", "--output", "json").stdout == "[]\n"


def test_what_others_wrote_does_not_command_the_terminal(scripted: ScriptedServer) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07[bold]x[/bold]\u202e"
    scripted.on("GET", PATH, Answer(200, {**FAILED, "name": evil, "error": {"code": evil, "message": evil}}))
    lines = {"data": [{"id": 1, "line": evil}], "has_more": False}
    scripted.on("GET", f"{PATH}/logs", Answer(200, lines))
    for arguments in (("jobs", "show", "job_1"), ("jobs", "logs", "job_1")):
        ran = fdkd(*arguments)
        assert ran.status == 0, ran.stderr
        assert "\x1b" not in ran.stdout
        assert "\u202e" not in ran.stdout
        assert "[bold]x[/bold]" in ran.stdout
    scripted.on("GET", PATH, problem(404, evil, detail=evil))
    ran = fdkd("jobs", "show", "job_1")
    assert ran.status == 2
    assert "\x1b" not in ran.stderr


def test_logs_are_followed_until_the_job_has_ended(scripted: ScriptedServer) -> None:
    scripted.on("GET", PATH, Answer(200, RUNNING), Answer(200, SUCCEEDED))
    scripted.on(
        "GET",
        f"{PATH}/logs",
        Answer(200, {"data": [{"id": 1, "line": "one"}], "has_more": False}),
        Answer(200, {"data": [{"id": 2, "line": "two"}], "has_more": False}),
    )
    ran = fdkd("jobs", "logs", "job_1", "--follow")
    assert (ran.status, ran.stdout) == (0, "one\ntwo\n")


def test_cancel_and_retry(scripted: ScriptedServer) -> None:
    scripted.on("POST", f"{PATH}/cancel", Answer(202, {**RUNNING, "cancel_requested": True}))
    ran = fdkd("jobs", "cancel", "job_1")
    assert (ran.status, ran.stdout) == (0, "running\n")
    assert "next step" in ran.stderr
    scripted.on("GET", PATH, Answer(200, FAILED))
    scripted.on("POST", f"{PATH}/retry", Answer(201, {**JOB, "id": "job_2", "retry_of": "job_1"}))
    assert fdkd("jobs", "retry", "job_1").stdout == "job_2\n"


def test_jobs_are_deleted(scripted: ScriptedServer) -> None:
    scripted.on("DELETE", "/v1/jobs/job_1", Answer(204))
    scripted.on("DELETE", "/v1/jobs/job_2", Answer(204))
    ran = fdkd("jobs", "rm", "job_1", "job_2", "--with-models")
    assert (ran.status, ran.stdout) == (0, "")
    assert ran.stderr == "Deleted job_1.\nDeleted job_2.\n"
    assert [(sent.method, sent.path, sent.query) for sent in scripted.requests] == [
        ("DELETE", "/v1/jobs/job_1", "with_models=true"),
        ("DELETE", "/v1/jobs/job_2", "with_models=true"),
    ]


def test_jobs_that_cannot_be_deleted(scripted: ScriptedServer) -> None:
    scripted.on("DELETE", "/v1/jobs/job_1", problem(409, "in_use", models=["mdl_1"]))
    scripted.on("DELETE", "/v1/jobs/job_2", problem(409, "not_terminal", state="running"))
    scripted.on("DELETE", "/v1/jobs/job_3", problem(404, "job_not_found"))
    scripted.on("DELETE", "/v1/jobs/job_4", Answer(204))
    ran = fdkd("jobs", "rm", "job_1", "job_3", "job_4")
    assert ran.status == 5, "that of the first refusal"
    assert "It is in_use." in ran.stderr
    assert "fdkd jobs rm job_1 --with-models" in ran.stderr
    assert "It is job_not_found." in ran.stderr
    assert ran.stderr.endswith("Deleted job_4.\n"), "one that is refused does not keep the others"
    assert fdkd("jobs", "rm", "job_3", "job_4").status == 2
    ran = fdkd("jobs", "rm", "job_2")
    assert (ran.status, "--with-models" in ran.stderr) == (5, False)


def test_a_model_of_a_job_keeps_its_bytes_until_the_job_goes(scripted: ScriptedServer) -> None:
    model = {"id": "mdl_1", "name": "m", "state": "ready", "source": "job", "job_id": "job_1"}
    scripted.on("GET", "/v1/models/mdl_1", Answer(200, model))
    scripted.on("DELETE", "/v1/models/mdl_1", Answer(204))
    ran = fdkd("models", "rm", "mdl_1")
    assert ran.status == 0
    assert "fdkd jobs rm job_1" in ran.stderr


def test_what_is_stored(scripted: ScriptedServer) -> None:
    stored = {"uploads": 0, "datasets": 1_500_000, "models": 0, "jobs": 2_500_000_000}
    usage = {"stored_bytes": 2_501_500_000, "max_stored_bytes": 10_000_000_000, "stored": stored}
    scripted.on("GET", "/v1/usage", Answer(200, usage))
    ran = fdkd("usage")
    assert ran.status == 0
    assert "2.5 GB of 10.0 GB (25.0 %)" in ran.stdout
    assert re.search(r"datasets +1\.5 MB", ran.stdout)
    assert json.loads(fdkd("usage", "--output", "json").stdout) == usage


def test_a_full_quota_says_where_to_look(scripted: ScriptedServer) -> None:
    scripted.on("GET", "/v1/jobs", problem(403, "quota_exceeded"))
    ran = fdkd("jobs", "ls")
    assert ran.status == 6
    assert "fdkd usage" in ran.stderr


def test_a_reader_that_leaves(scripted: ScriptedServer) -> None:
    lines = {"data": [{"id": n, "line": "x" * 1000} for n in range(1000)], "has_more": False}
    scripted.on("GET", f"{PATH}/logs", Answer(200, lines))
    process = subprocess.Popen(
        [FDKD, "jobs", "logs", "job_1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait(20)
    process.stderr.close()


def test_help_is_quick_and_loads_no_http() -> None:
    script = (
        "import sys; sys.argv = ['fdkd', '--help']\n"
        "from fdkd_client.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run(
        [str(FDKD.with_name("python")), "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in ran.stderr.split()}
    assert loaded.isdisjoint(
        {"httpx2", "yaml", "torch", "numpy", "fastapi", "sqlalchemy", "celery", "service"}
    )
    assert "130" in ran.stdout


def test_version() -> None:
    assert fdkd("--version").stdout.startswith("fdkd 0.")
