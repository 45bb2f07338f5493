from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_samples import EVERY_KIND, Bundles, make_bundle

import fdkd_core
from fdkd_core.bundle.predictions import softmax
from fdkd_core.bundle.student import load_student
from fdkd_core.errors import InputError, ModelFileError

SUFFIXES = {"audio": ".wav", "text": ".txt"}


def save(folder: Path, kind: str, value: Any) -> Path:
    path = folder / f"value{SUFFIXES.get(kind, '.npy')}"
    if isinstance(value, bytes):
        path.write_bytes(value)
    elif isinstance(value, str):
        path.write_text(value)
    else:
        np.save(path, value)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_files_arrays_batches_and_backends_agree(bundles: Bundles, kind: Any, tmp_path: Path) -> None:
    summary, values = bundles(kind)
    student = fdkd_core.load_student(summary.path)
    assert student.kind == kind
    many = student.predict_many(values)
    alone = student.predict(values[0])
    from_file = student.predict(save(tmp_path, kind, values[0]))
    by_onnx = load_student(summary.path, "onnx").predict_many(values)
    assert alone.label == from_file.label == many[0].label == student.classes[alone.index]
    assert [prediction.label for prediction in by_onnx] == [prediction.label for prediction in many]
    for one, other in ((alone, from_file), (alone, many[0]), (by_onnx[0], many[0])):
        assert list(one.probabilities) == student.classes
        assert sum(one.probabilities.values()) == pytest.approx(1, abs=1e-12)
        assert list(one.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=1e-5)


def test_more_values_than_a_batch(tmp_path: Path) -> None:
    _, values = make_bundle(tmp_path / "b", "vector", onnx=False)
    student = load_student(tmp_path / "b")
    labels = [prediction.label for prediction in student.predict_many(values * 11)]
    assert labels == [prediction.label for prediction in student.predict_many(values)] * 11
    assert student.predict_many([]) == []
    with pytest.raises(InputError):
        student.predict(np.zeros(9))
    with pytest.raises(InputError):
        student.predict(tmp_path / "absent.npy")


def test_no_onnx_file_to_run(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", "vector", onnx=False)
    with pytest.raises(ModelFileError) as caught:
        load_student(tmp_path / "b", "onnx")
    assert "model.onnx" in str(caught.value)


def test_softmax_of_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4 - np.log(3)]])), [[0.75, 0.25]])


def run_python(code: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_the_package_imports_nothing() -> None:
    heavy = ("fdkd_core.", "numpy", "torch", "pydantic")
    code = f"""
import fdkd_core, json, sys
print(json.dumps([name for name in sys.modules if name.startswith({heavy})]))
"""
    assert run_python(code) == []
    with pytest.raises(AttributeError):
        fdkd_core.absent  # noqa: B018


@pytest.mark.slow
def test_the_onnx_backend_needs_no_torch(bundles: Bundles, tmp_path: Path) -> None:
    summary, values = bundles("vector")
    code = """
import sys, json
import fdkd_core
student = fdkd_core.load_student(sys.argv[1], backend="onnx")
prediction = student.predict(sys.argv[2])
assert "torch" not in sys.modules
print(json.dumps(prediction.probabilities))
"""
    found = run_python(code, str(summary.path), str(save(tmp_path, "vector", values[0])))
    assert found == pytest.approx(load_student(summary.path).predict(values[0]).probabilities, abs=1e-5)
