"""Teachers of segmentation from elsewhere, by the command line against a real server and its worker."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fdkd_command import fdkd
from local_server import LocalServer
from pixel_hub_folders import save_pixel_folder
from pixel_onnx import colours_of, mean_colours, pixel_teacher
from scene_data import TRAINING, scene_spec, scenes, write_scenes

from fdkd_client import Client
from fdkd_core.onnx_files.network import OnnxNetwork

SHORT: dict[str, Any] = {"training": {**TRAINING, "epochs": 1}, "controls": {"no_teacher": False}}
GIVEN = {"modality": "colour", "model": "hub"}
ONNX = {"modality": "colour", "model": "onnx"}
RECORDED = {"outputs_from": {"features": "pooled", "logits": "scores"}}
JOBS: dict[str, dict[str, Any]] = {
    "by a folder": {"teacher": GIVEN},
    "by onnx": {"teacher": ONNX, "method": {"name": "cirkd"}},
    "by columns": {"teacher": RECORDED, "method": {"name": "fd_cmkd"}},
    "with a start": {
        "teacher": RECORDED, "student": {"modality": "colour", "start": "hub"}, "method": {"name": "pkd"},
    },
}  # fmt: skip
REFUSED: dict[str, dict[str, Any]] = {
    "/teacher/outputs/logits": {"teacher": {**ONNX, "outputs": {"logits": "scores"}}},
    "/teacher/outputs_from/logits": {"teacher": {"outputs_from": {"logits": "depth"}}},
    "/teacher/model": {"teacher": {**GIVEN, "modality": "depth"}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    started = LocalServer(tmp_path_factory.mktemp("server"))
    yield started
    started.close()


def record(folder: Path, **columns: Any) -> None:
    """Adds a column of .npy files to the manifest for each of some arrays [rows, ...]."""
    rows = list(csv.reader((folder / "manifest.csv").read_text().splitlines()))
    for name, values in columns.items():
        (folder / name).mkdir()
        rows[0].append(name)
        for row, value in zip(rows[1:], values, strict=True):
            row.append(f"{name}/{row[0]}.npy")
            np.save(folder / row[-1], value)
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def done(*arguments: Any) -> str:
    ran = fdkd(*arguments)
    assert ran.status == 0, (arguments, ran.stderr)
    return str(ran.stdout)


@pytest.mark.long
def test_they_teach_and_are_refused(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FDKD_URL", server.url)
    monkeypatch.setenv("FDKD_API_KEY", server.key)
    data = write_scenes(tmp_path / "scenes", 60)
    content = bytes(pixel_teacher(mean_colours(data)).SerializeToString())
    said, pooled = OnnxNetwork(content)(colours_of(data)[1], ["logits", "features"])
    record(data, pooled=pooled, scores=said.astype(np.float16))
    save_pixel_folder("segformer", tmp_path / "hub", list(scenes(60)[0]["colour"]))
    (tmp_path / "teacher.onnx").write_bytes(content)
    assert "map" in done("datasets", "create", data, "--name", "scenes", "--wait")
    done("models", "upload", tmp_path / "hub", "--name", "hub", "--wait")
    done("models", "upload", tmp_path / "teacher.onnx", "--name", "onnx", "--wait")
    path = tmp_path / "spec.yaml"

    def write(name: str, changes: dict[str, Any]) -> Path:
        spec = scene_spec(**{**SHORT, **changes}, name=name, dataset="scenes")
        path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_unset=True)))
        return path

    for name, changes in JOBS.items():
        assert "test mIoU" in done("jobs", "run", write(name, changes), "--wait")
    for pointer, changes in REFUSED.items():
        ran = fdkd("jobs", "run", write("never", changes), "--validate-only")
        assert ran.status == 5, ran.stdout
        assert pointer in ran.stderr
    with Client(server.url, server.key) as client:
        results: dict[str, Any] = {job.name: job.result for job in client.jobs.list()}
    networks = {name: result.teacher.architecture["name"] for name, result in results.items()}
    assert networks == dict(zip(JOBS, ("segformer", "onnx", "recorded", "recorded"), strict=True))
    taught = {name: result.teacher.test.mean_iou for name, result in results.items()}
    assert taught["by onnx"] > 0.6
    assert taught["by columns"] == pytest.approx(taught["by onnx"], abs=5e-3)
    assert results["with a start"].student.architecture["name"] == "segformer"
