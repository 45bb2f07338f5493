"""The benchmarks of loading and of start-up run and report what they say they do."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_job import small_spec, write_small_data

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed"


def call(script: str, *arguments: object) -> str:
    command = [sys.executable, str(SPEED / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout


@pytest.mark.long
def test_decoding(tmp_path: Path) -> None:
    data = write_small_data(tmp_path / "small.npz")
    told = call("decoding.py", data, "--column", "wave", "--rounds", 3, "--out", tmp_path)
    rows = list(csv.DictReader((tmp_path / "decoding.csv").read_text().splitlines()))
    assert {(row["measure"], row["variant"]) for row in rows} == {
        (measure, variant)
        for measure in ("load_time", "ratio_to_fewest")
        for variant in ("1 worker", "2 workers")
    }
    assert {row["count"] for row in rows} == {"3"}
    report = (tmp_path / "decoding.md").read_text()
    assert "156 rows, columns wave (series)" in report
    assert "load average before" in told


@pytest.mark.long
def test_startup(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(small_spec().model_dump(mode="json")))
    told = call("startup.py", spec, write_small_data(tmp_path / "small.npz"), "--rounds", 1)
    assert [line.split()[0] for line in told.splitlines()] == [
        "run_started",
        "phase_started",
        "step",
        "cpu",
        "load",
    ]
