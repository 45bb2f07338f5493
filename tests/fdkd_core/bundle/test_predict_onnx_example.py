"""The example, in an environment that has only numpy and onnxruntime."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_samples import EVERY_KIND, Bundles

from fdkd_core.bundle.student import load_student

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def clean_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [
            *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("-c", ROOT / "constraints.txt", "numpy", "onnxruntime"),
        ],
        check=True,
    )
    return python


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_it_predicts_what_fdkd_core_predicts(
    clean_python: Path, bundles: Bundles, kind: Any, tmp_path: Path
) -> None:
    summary, values = bundles(kind)
    student = load_student(summary.path)
    for number, value in enumerate(values[:1]):
        path = tmp_path / f"{number}{'.wav' if kind == 'audio' else '.txt' if kind == 'text' else '.npy'}"
        if isinstance(value, bytes):
            path.write_bytes(value)
        elif isinstance(value, str):
            path.write_text(value)
        else:
            np.save(path, value)
        done = subprocess.run(
            [clean_python, "-I", "-W", "error", ROOT / "examples/predict_onnx.py", summary.path, path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found, expected = json.loads(done.stdout), student.predict(value)
        assert found["label"] == expected.label
        assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)


@pytest.mark.long
@pytest.mark.slow
def test_the_environment_is_clean(clean_python: Path) -> None:
    code = """
import importlib.util
print([name for name in ("torch", "onnx", "fdkd_core", "PIL") if importlib.util.find_spec(name)])
"""
    found = subprocess.check_output([clean_python, "-I", "-c", code], text=True)
    assert found.strip() == "[]"
    assert sys.executable != str(clean_python)
