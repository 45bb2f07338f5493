"""A segmentation whose data are one parquet file: masks and recorded maps teach as those of an .npz do."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scene_data import CLASSES, TRAINING, scene_spec, write_scenes

from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec.result import RunResult

OPTIONS = RunOptions(device="cpu", threads=1)
MAP_SHAPE = (4, 12, 12)
CHANGES: dict[str, Any] = {
    "teacher": {"outputs_from": {"features": "maps"}},
    "method": {"name": "feature_mse"},
    "training": {**TRAINING, "epochs": 2},
}


def png(values: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray[Any, Any]]:
    """Scenes with maps that a network might have recorded."""
    with np.load(write_scenes(tmp_path_factory.mktemp("plain") / "scenes.npz", 40)) as file:
        found = {name: file[name] for name in ("depth", "label", "split")}
    maps = np.random.default_rng(0).normal(size=(40, *MAP_SHAPE)).astype(np.float32)
    return {**found, "maps": maps}


def describe(path: Path, maps: str = "") -> None:
    path.with_name(f"{path.stem}.dataset.yaml").write_text(
        f"{{class_names: {CLASSES}, modalities: {{depth: {{kind: depth}}{maps}}}}}\n"
    )


@pytest.fixture(scope="module")
def expected(arrays: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    path = tmp_path_factory.mktemp("npz") / "data.npz"
    np.savez(path, **arrays)
    describe(path)
    result = run(scene_spec(**CHANGES), path, path.with_name("out"), options=OPTIONS)
    assert isinstance(result, RunResult)
    return result


@pytest.mark.parametrize("form", ["encoded", "lists", "fixed"])
def test_parquet_teaches_as_npz_does(
    arrays: dict[str, Any], expected: RunResult, form: str, tmp_path: Path
) -> None:
    maps = arrays["maps"]
    columns: dict[str, Any] = {
        "split": arrays["split"],
        "depth": pa.array(arrays["depth"].tolist(), pa.list_(pa.list_(pa.float32()))),
        "maps": pa.array(maps.tolist(), pa.list_(pa.list_(pa.list_(pa.float32())))),
        "label": [{"bytes": png(mask), "path": f"{row}.png"} for row, mask in enumerate(arrays["label"])],
    }
    if form == "lists":
        columns["label"] = pa.array(arrays["label"].tolist())
    if form == "fixed":
        # As a library writes arrays whose shape the file does not say.
        columns["maps"] = pa.FixedSizeListArray.from_arrays(pa.array(maps.reshape(-1)), maps[0].size)
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=16)
    describe(path, f", maps: {{kind: map, shape: {list(MAP_SHAPE)}}}" if form == "fixed" else "")
    result = run(scene_spec(**CHANGES), path, tmp_path / "out", options=OPTIONS)
    assert isinstance(result, RunResult)
    assert result.student.weights_sha256 == expected.student.weights_sha256
    assert result.student.test == expected.student.test
    assert result.control is not None
    assert expected.control is not None
    assert result.control.weights_sha256 == expected.control.weights_sha256
