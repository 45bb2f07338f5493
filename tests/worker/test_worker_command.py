from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("--data-dir=elsewhere", 2)])
def test_who_asks_for_help_gets_no_worker(tmp_path: Path, argument: str, status: int) -> None:
    command = [sys.executable, "-m", "worker", argument]
    root = Path(__file__).parents[2]
    environment = {"FDKD_DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": str(root)}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert found.returncode == status
    assert "python -m worker" in found.stdout + found.stderr
    assert not (tmp_path / "data").exists()
