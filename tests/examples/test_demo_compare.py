"""The demo of a comparison, on less data and with less training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = """\
kind: compare
dataset: digits
task: {kind: classification}
teacher: {modality: image, architecture: {name: conv2d, width: 4}, train: {epochs: 1, batch_size: 32}}
student: {modality: audio, architecture: {name: conv2d, width: 4}}
methods: [{name: logit_kd}]
fake_teachers: []
training: {epochs: 1, batch_size: 32}
tuning: {trials: 1}
seeds: 2
"""


@pytest.mark.long
def test_it_shows_what_helps(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    arguments = ["--out", tmp_path / "demo", "--pairs", "150", "--spec", tmp_path / "spec.yaml"]
    ran = subprocess.run(
        [sys.executable, ROOT / "examples" / "demo_compare.py", *arguments],
        env={**os.environ, "FDKD_DEVICE": "cpu", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert ran.returncode == 0, ran.stderr + ran.stdout
    for number in range(1, 7):
        assert f"\n{number}. " in ran.stdout
    for word in ("teacher", "no_teacher", "logit_kd", "to control", "verdict", "2 workers"):
        assert word in ran.stdout
    assert "3 jobs have ended" in ran.stderr
    (report,) = (tmp_path / "demo").glob("report-*")
    assert (report / "report" / "comparison.png").stat().st_size > 1000
    assert str(report) in ran.stdout.replace("\n", "")
    # Nothing else is left: neither the server's data nor its note.
    assert {path.name for path in tmp_path.iterdir()} - {".ses"} == {"demo", "spec.yaml"}
