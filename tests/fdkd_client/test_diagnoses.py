"""Diagnoses of every task over HTTP, from the upload to what the command line shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fdkd_command import fdkd
from local_server import LocalServer
from scene_data import write_scenes
from task_diagnoses import as_diagnosis, planted_spec, write_planted

import fdkd_client
from fdkd_client import Client
from fdkd_client.figures import DiagnosisFigures

SHORT = {"epochs": 2, "batch_size": 16, "augment": "none"}
FIGURES = {"multilabel": "mAP", "regression": "R²", "retrieval": "Recall@1", "pair": "Recall@1",
           "segmentation": "mIoU"}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    started = LocalServer(tmp_path_factory.mktemp("server"))
    yield started
    started.close()


@pytest.fixture
def real(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("FDKD_URL", server.url)
    monkeypatch.setenv("FDKD_API_KEY", server.key)
    with Client(server.url, server.key) as opened:
        yield opened


def short_spec(kind: str) -> dict[str, Any]:
    spec = planted_spec(kind)
    teacher = {**spec.teacher.model_dump(mode="json"), "train": SHORT}
    found = as_diagnosis(spec, name=kind, dataset=kind, training=SHORT, teacher=teacher, max_samples=100)
    return found.model_dump(mode="json")


# What is found is tested in the core, and what is accepted in the checks of specs: one task shows the way.
@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["regression", *(pytest.param(kind, marks=pytest.mark.long) for kind in FIGURES if kind != "regression")],
)
def test_a_task_is_diagnosed(kind: str, real: Client, tmp_path: Path) -> None:
    # An .npz says nothing of its columns: depth would be a series.
    data = write_scenes(tmp_path / kind, 80) if kind == "segmentation" else write_planted(tmp_path, kind)
    made = fdkd("datasets", "create", data, "--name", kind, "--wait")
    assert made.status == 0, made.stderr
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(short_spec(kind)))
    ran = fdkd("jobs", "run", path, "--wait")
    assert ran.status == 0, ran.stderr
    (job,) = real.jobs.list(name=kind)
    assert isinstance(job.result, DiagnosisFigures)
    assert job.result.findings["task"] == ("retrieval" if kind == "pair" else kind)
    assert len(job.result.findings["headroom"]["probes"]) == 6
    for text in (ran.stdout, fdkd("jobs", "show", job.id).stdout):
        assert f"{FIGURES[kind]} on validation" in text
        assert f"within {job.result.findings['similarity']['stratum']}" in text
        assert job.result.verdict in text
    spec = short_spec(kind)
    spec["teacher"] = {"outputs_from": {"features": spec["student"]["modality"]}}
    with pytest.raises(fdkd_client.RejectedError) as refused:
        real.jobs.create(spec)
    assert "/spec/teacher/outputs_from" in str(refused.value.problems)
