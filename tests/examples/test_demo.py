"""The demo, on less data and with less training: every step of it, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SPEC = """\
kind: distill
dataset: digits
task: {kind: classification}
teacher: {modality: image, architecture: {name: conv2d, width: 4}, train: {epochs: EPOCHS, batch_size: 32}}
student: {modality: audio, architecture: {name: conv2d, width: 4}}
training: {epochs: EPOCHS, batch_size: 32}
"""


def start(folder: Path, epochs: int) -> subprocess.Popen[str]:
    """The demo as a process, in a session of its own."""
    (folder / "spec.yaml").write_text(SPEC.replace("EPOCHS", str(epochs)))
    arguments = ["--out", folder / "demo", "--pairs", "150", "--spec", folder / "spec.yaml"]
    return subprocess.Popen(
        [sys.executable, ROOT / "examples" / "demo.py", *arguments],
        env={**os.environ, "FDKD_DEVICE": "cpu", "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_it_shows_the_whole_way(tmp_path: Path) -> None:
    demo = start(tmp_path, epochs=1)
    out, err = demo.communicate(timeout=200)
    assert demo.returncode == 0, err
    for number in range(1, 7):
        assert f"\n{number}. " in out
    for word in ("teacher", "student", "control", "uplift", "params", "size", "confidence"):
        assert word in out
    assert out.count(".wav") == 8
    # Of one epoch, a phase may be over before it is looked at; not all of them are.
    assert any(words in err for words in ("preparing the data", "training the", "writing the student"))
    assert "\x1b" not in out + err
    (student,) = (tmp_path / "demo").glob("student-*")
    assert str(student) in out.replace("\n", "")
    assert (student / "model.onnx").exists()
    # Nothing else is left: neither the server's data nor its note. (`.ses` is onnxruntime's.)
    assert {path.name for path in tmp_path.iterdir()} - {".ses"} == {"demo", "spec.yaml"}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle_it_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    demo = start(tmp_path, epochs=5000)
    assert demo.stderr is not None
    assert any("training the teacher" in line for line in iter(demo.stderr.readline, ""))
    running = psutil.Process(demo.pid).children(recursive=True)
    assert len(running) >= 4  # supervisor, API, worker, trainer
    started = time.monotonic()
    demo.send_signal(number)
    out, _ = demo.communicate(timeout=60)
    _, left = psutil.wait_procs(running, timeout=15)
    assert left == []
    assert time.monotonic() - started < 16
    if number != signal.SIGKILL:
        assert demo.returncode == 130
        assert "everything was stopped" in out
