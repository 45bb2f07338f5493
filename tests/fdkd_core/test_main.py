"""The command line, as a user runs it: a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_job import small_spec, write_small_data
from warm_process import run_warm

from fdkd_core.__main__ import main

FIXED = ["--threads", "1", "--device", "cpu"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(small_spec().model_dump(mode="json")))
    return spec, write_small_data(tmp_path / "small.npz"), tmp_path / "out"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "fdkd_core", *map(str, arguments), *FIXED]


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_warm(main, *arguments, *FIXED, COLUMNS="120")


def test_a_run_prints_its_table(files: tuple[Path, Path, Path]) -> None:
    spec, data, out = files
    done = call(*files)
    assert done.returncode == 0, done.stderr
    for word in ("teacher", "student", "control", "uplift over the control", str(out / "student")):
        assert word in done.stdout
    assert "training the student" in done.stderr
    again = call(*files)
    assert again.returncode == 0
    assert "training" not in again.stderr
    assert again.stdout == done.stdout


def test_sigterm_checkpoints_and_the_same_command_resumes(files: tuple[Path, Path, Path]) -> None:
    spec, data, out = files
    document = yaml.safe_load(spec.read_text())
    document["training"]["epochs"] = 400
    spec.write_text(yaml.safe_dump(document))
    read, write = os.pipe()
    process = subprocess.Popen(
        command(*files, "--events-fd", write), pass_fds=[write], stderr=subprocess.PIPE
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        for line in pipe:
            event = json.loads(line)
            if event["event"] == "epoch" and event["phase"] == "student" and event["epoch"] == 3:
                process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 75
    assert b"run again to resume" in told
    assert not (out / "result.json").exists()
    stopped_at = max(int(p.name[5:]) for p in (out / "work" / "student").glob("step-*"))
    assert 18 <= stopped_at < 2400

    with subprocess.Popen(command(*files), stderr=subprocess.PIPE, text=True) as resumed:
        assert resumed.stderr is not None
        for line in resumed.stderr:
            if f"resumed at step {stopped_at}" in line:
                break
        else:
            pytest.fail("the second run did not resume")
        resumed.kill()


def test_a_bad_spec_exits_2_and_leaves_only_the_report(files: tuple[Path, Path, Path]) -> None:
    spec, data, out = files
    spec.write_text("kind: distill\ndataset: d\ntraining: {epochs: -1, speed: 3}\n")
    found = call(*files)
    assert found.returncode == 2
    assert found.stdout == ""
    assert [path.name for path in out.iterdir()] == ["report.json"]
    report = json.loads((out / "report.json").read_text())
    assert {problem["pointer"] for problem in report["problems"]} == {
        "/task", "/teacher", "/student", "/training/epochs", "/training/speed",
    }  # fmt: skip
    for problem in report["problems"]:
        assert problem["pointer"] in found.stderr


def test_bad_data_exit_2_with_every_bad_row(files: tuple[Path, Path, Path]) -> None:
    spec, data, out = files
    arrays = dict(np.load(data))
    arrays["wave"][3, 0, 0] = np.nan
    arrays["clean"][5, 1] = np.inf
    np.savez(data, **arrays)
    found = call(*files)
    assert found.returncode == 2
    assert [path.name for path in out.iterdir()] == ["report.json"]
    problems = json.loads((out / "report.json").read_text())["problems"]
    assert {(problem["row"], problem["pointer"]) for problem in problems} == {(4, "wave"), (6, "clean")}


def test_too_few_rows_for_a_batch_exit_2(files: tuple[Path, Path, Path]) -> None:
    spec, data, out = files
    write_small_data(data, rows=12)
    found = call(*files)
    assert found.returncode == 2
    assert "dataset_too_small" in found.stderr
    assert [path.name for path in out.iterdir()] == ["report.json"]


def test_an_architecture_that_does_not_fit_exits_2(files: tuple[Path, Path, Path]) -> None:
    spec, data, out = files
    document = yaml.safe_load(spec.read_text())
    document["student"]["architecture"] = {"name": "resnet18"}
    spec.write_text(yaml.safe_dump(document))
    found = call(*files)
    assert found.returncode == 2
    assert "/student/architecture" in found.stderr
    assert [path.name for path in out.iterdir()] == ["report.json"]


def test_divergence_exits_3(files: tuple[Path, Path, Path]) -> None:
    spec, data, out = files
    document = yaml.safe_load(spec.read_text())
    document["teacher"]["train"]["optimizer"] = {"name": "sgd", "lr": 100.0, "weight_decay": 1.0}
    document["teacher"]["train"]["epochs"] = 400
    document["teacher"]["train"]["max_grad_norm"] = None
    spec.write_text(yaml.safe_dump(document))
    found = call(*files)
    assert found.returncode == 3
    assert "'task'" in found.stderr
    assert not (out / "student").exists()


def test_a_spec_that_is_not_there_is_a_usage_error(files: tuple[Path, Path, Path]) -> None:
    _, data, out = files
    found = call("nowhere.yaml", data, out)
    assert found.returncode == 2
    assert "cannot read" in found.stderr


def test_a_bad_spec_does_not_wait_for_torch() -> None:
    script = "import fdkd_core.__main__, fdkd_core.validate, sys; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "False\n"


def test_help_names_the_exit_codes() -> None:
    assert "75 stopped" in subprocess.check_output(command("--help"), text=True)
