"""Files that say nothing of kinds and labels, uploaded with the dataset.yaml that does, over HTTP."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from cutting_proxy import CuttingProxy
from fdkd_command import fdkd
from local_server import LocalServer

from fdkd_client import Client
from fdkd_client.archive import uploadable_dataset
from fdkd_core.data.reading import read_table

MAPS = "modalities: {img: {kind: map}}\n"
NUMBERS = "{modalities: {img: {kind: map}}, labels: {form: numbers}}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    started = LocalServer(tmp_path_factory.mktemp("server"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def real(server: LocalServer) -> Iterator[Client]:
    """A client of the real server."""
    with Client(server.url, server.key) as opened:
        yield opened


@pytest.fixture(autouse=True)
def environment(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDKD_URL", server.url)
    monkeypatch.setenv("FDKD_API_KEY", server.key)


def arrays(side: int = 8) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "img": rng.normal(size=(60, 1, side, side)).astype(np.float32),
        "label": np.arange(60) % 3,
        "split": np.array(["train"] * 30 + ["val"] * 15 + ["test"] * 15),
    }


def write_npz(path: Path, description: str | None, **changes: Any) -> Path:
    np.savez(path, **{**arrays(), **changes})
    if description is not None:
        path.with_name(f"{path.stem}.dataset.yaml").write_text(description)
    return path


def write_parquet(path: Path, description: str) -> Path:
    pq.write_table(pa.table({name: values.tolist() for name, values in arrays().items()}), path)
    path.with_name(f"{path.stem}.dataset.yaml").write_text(description)
    return path


def test_an_npz_goes_with_its_sidecar_and_teaches_a_job(real: Client, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "side.npz", None)
    refused = fdkd("datasets", "create", path, "--name", "mute", "--wait")
    assert refused.status == 5
    assert "cannot tell the kind" in refused.stdout
    assert "folder or zip" in " ".join(refused.stdout.split())
    write_npz(path, MAPS)
    made = fdkd("datasets", "create", path, "--name", "side", "--wait", "--output", "json")
    assert made.status == 0, made.stderr
    assert "side.npz with side.dataset.yaml, as one zip" in made.stderr
    document = json.loads(made.stdout)
    assert document["report"]["modalities"]["img"]["kind"] == "map"
    assert document["report"]["sha256"] == read_table(path).sha256
    spec = {
        "kind": "train",
        "dataset": "side",
        "task": {"kind": "classification"},
        "student": {"modality": "img", "architecture": {"name": "conv2d", "width": 4}},
        "training": {"epochs": 1, "batch_size": 16},
        "export": {"onnx": False, "latency_s": 0.0},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    ran = fdkd("jobs", "run", tmp_path / "spec.yaml", "--wait", "--output", "json")
    assert ran.status == 0, ran.stderr
    assert json.loads(ran.stdout)["result"]["data_sha256"] == read_table(path).sha256


def test_a_parquet_goes_with_its_sidecar(real: Client, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "side.parquet", NUMBERS)
    made = fdkd("datasets", "create", path, "--name", "listed", "--wait", "--output", "json")
    assert made.status == 0, made.stderr
    report = json.loads(made.stdout)["report"]
    assert report["modalities"]["img"]["kind"] == "map"
    assert report["label_form"] == "numbers"
    assert report["sha256"] == read_table(path, label_form="numbers").sha256


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_whoever_packs_it_himself(real: Client, tmp_path: Path, form: str) -> None:
    (tmp_path / "packed").mkdir()
    path = write_npz(tmp_path / "packed" / "side.npz", None)
    (tmp_path / "packed" / "dataset.yaml").write_text(NUMBERS)
    given = tmp_path / "packed"
    if form == "zip":
        given = tmp_path / "packed.zip"
        with zipfile.ZipFile(given, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, "side.npz")
            archive.write(tmp_path / "packed" / "dataset.yaml", "dataset.yaml")
    elif form == "tar":
        given = tmp_path / "packed.tar"
        with tarfile.open(given, "w") as tar:
            tar.add(tmp_path / "packed", "packed")
    made = real.datasets.wait(real.datasets.create(given, f"packed-{form}"), timeout_s=60)
    assert made.state == "ready", made.error
    assert made.report is not None
    assert made.report["label_form"] == "numbers"


def test_two_tables_are_refused_with_what_would_do(real: Client, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    write_npz(tmp_path / "two" / "a.npz", None)
    write_npz(tmp_path / "two" / "b.npz", None)
    made = real.datasets.wait(real.datasets.create(tmp_path / "two", "two"), timeout_s=60)
    assert made.state == "invalid"
    assert "2 tables" in str(made.error)
    assert "dataset.yaml and a README" in str(made.error)


def test_a_sidecar_survives_cut_connections(server: LocalServer, tmp_path: Path) -> None:
    img = np.random.default_rng(0).normal(size=(60, 1, 210, 210)).astype(np.float32)  # 10 MB, in two parts
    path = write_npz(tmp_path / "large.npz", MAPS, img=img)
    with uploadable_dataset(path) as packed:
        sha256, size = hashlib.sha256(packed.read_bytes()).hexdigest(), packed.stat().st_size
    with (
        CuttingProxy(server.port) as proxy,
        Client(f"http://127.0.0.1:{proxy.port}", server.key) as client,
    ):
        proxy.cut_requests(1_500_000, times=3)
        made = client.datasets.create(path, "large")
        assert proxy.fired == 3
        assert proxy.bytes_to_server < size + 3 * 1_500_000
        assert made.sha256 == sha256
        made = client.datasets.wait(made, timeout_s=100)
    assert made.state == "ready", made.error
