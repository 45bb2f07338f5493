"""A run that is killed and started again gives, bit for bit, what an undisturbed run gives."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import run_and_die
from small_job import CHECKPOINT_EVERY, STEPS_PER_PHASE, small_spec, write_small_data
from warm_process import run_warm

from fdkd_core.errors import CheckpointError
from fdkd_core.options import RunOptions
from fdkd_core.run import run

LAST = STEPS_PER_PHASE - 1


def attempt(data: Path, out: Path, moment: str) -> subprocess.CompletedProcess[str]:
    return run_warm(run_and_die.main, data, out, moment)


def resume(data: Path, out: Path) -> list[dict[str, Any]]:
    """Runs to the end in this process, which spares an import of torch; returns the events."""
    events: list[dict[str, Any]] = []
    run(small_spec(), data, out, options=RunOptions(device="cpu", threads=1), on_event=events.append)
    return events


def fingerprint(out: Path) -> dict[str, Any]:
    """All that must not depend on interruptions: the files' hashes and the result without its times."""
    result = json.loads((out / "result.json").read_text())
    for model in ("teacher", "student", "control"):
        del result[model]["seconds"]
    del result["seconds"]
    manifest = json.loads((out / "student" / "manifest.json").read_text())
    del manifest["files"]["README.md"]  # shows the seconds
    return {"result": result, "files": manifest["files"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small.npz")


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    finished = attempt(data, out, "never")
    assert finished.returncode == 0, finished.stderr
    return fingerprint(out)


MOMENTS = [
    *(
        f"student:{step}"
        for step in (0, 1, CHECKPOINT_EVERY - 1, CHECKPOINT_EVERY, CHECKPOINT_EVERY + 1, LAST)
    ),
    "student:checkpoint",
    "teacher:1",
    "control:checkpoint",
    "finalise",
    "bundle",
]


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_resumes_to_the_same_bits(
    moment: str, data: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    killed = attempt(data, out, moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.endswith("dying\n")
    assert not (out / "result.json").exists()
    resume(data, out)
    assert fingerprint(out) == undisturbed
    assert not (out / "work").exists()
    assert not [path for path in out.rglob("*") if "tmp" in path.name]


def damage_bit(path: Path) -> None:
    data = bytearray((path / "state.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "state.safetensors").write_bytes(data)


def damage_tail(path: Path) -> None:
    data = (path / "state.safetensors").read_bytes()
    (path / "state.safetensors").write_bytes(data[:-1])


def damage_state(path: Path) -> None:
    (path / "state.json").write_bytes(b"")


def damage_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def damage_step(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "step": 3}))


@pytest.fixture(scope="module")
def killed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that died soon after its second checkpoint of the student."""
    out = tmp_path_factory.mktemp("killed") / "out"
    assert attempt(data, out, f"student:{2 * CHECKPOINT_EVERY + 1}").returncode == -signal.SIGKILL
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "how_many"),
    [
        (damage_bit, 1),
        (damage_tail, 1),
        (damage_state, 1),
        (damage_manifest, 1),
        (damage_step, 1),
        (damage_bit, 2),
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    damage: Any, how_many: int, data: Path, killed: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    out = shutil.copytree(killed, tmp_path / "out")
    checkpoints = sorted((out / "work" / "student").glob("step-*"))
    assert [path.name[-2:] for path in checkpoints] == ["07", "14"]
    for path in checkpoints[-how_many:]:
        damage(path)
    events = resume(data, out)
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    assert len([message for message in warnings if message.startswith("checkpoint ")]) == how_many
    (started,) = [e for e in events if e["event"] == "phase_started" and e["phase"] == "student"]
    assert started["step"] == (CHECKPOINT_EVERY if how_many == 1 else 0)
    assert fingerprint(out) == undisturbed


@pytest.mark.slow
def test_checkpoints_of_another_run_are_refused(data: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    attempt(data, out, f"student:{CHECKPOINT_EVERY + 1}")
    other_data = write_small_data(tmp_path / "other.npz", rows=112)
    attempt(other_data, other, f"student:{CHECKPOINT_EVERY + 1}")
    shutil.rmtree(out / "work")
    shutil.copytree(other / "work", out / "work")
    with pytest.raises(CheckpointError, match="belongs to another run"):
        resume(data, out)
