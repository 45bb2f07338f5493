"""ONNX files under a real worker: read in the limited child, then taught with."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from onnx_samples import BAD_NETWORKS, BAD_STRUCTURES, changed
from small_job import small_spec
from worker_process import REAL, running
from worker_rig import Rig

from fdkd_core.bundle import load_bundle
from fdkd_core.bundle.onnx_export import export_onnx
from service.tables import Model

BAD = {**BAD_STRUCTURES, **BAD_NETWORKS}
CASES = [
    "outside in a branch of a branch",
    "If, nested",
    "a cycle",
    "a name of a megabyte",
    "a terabyte",
    "NaN",
    "two inputs",
]
"""One for each code: each is a process of its own."""


def add(rig: Rig, folder: Path, content: bytes) -> str:
    path = folder / "teacher.onnx"
    path.write_bytes(content)
    return rig.add_model(path, format="onnx", state="validating")


def answer(rig: Rig, model_id: str) -> Model:
    def read() -> Any:
        with rig.context.database.read() as session:
            model = session.get_one(Model, model_id)
        return model.state != "validating" and model

    model: Model = rig.wait(read, what=f"an answer on {model_id}")
    return model


@pytest.mark.long
def test_bad_files_become_invalid(rig: Rig, tmp_path: Path) -> None:
    ids = {case: add(rig, tmp_path, changed(BAD[case][1])) for case in CASES}
    junk = add(rig, tmp_path, b"\x08\x0a\x12" + b"\xff" * 99)
    with running(rig.start_worker()) as worker:
        for case, model_id in ids.items():
            model = answer(rig, model_id)
            assert (model.state, model.attempt) == ("invalid", 1), rig.report()
            assert model.error is not None
            assert model.error["code"] == "invalid_model"
            assert {problem["code"] for problem in model.error["problems"]} == {BAD[case][0]}, case
            assert len(model.error["problems"]) <= 11
            assert len(model.error["message"]) < 1000
            assert model.report is None
        model = answer(rig, junk)
        assert model.error is not None
        assert [problem["code"] for problem in model.error["problems"]] == ["invalid_onnx"]
        assert "came to nothing" not in worker.log
    assert not list(rig.context.settings.work_dir.iterdir())


@pytest.mark.long
def test_a_network_of_ones_own_teaches(rig: Rig, small_data: Path, undisturbed: Path, tmp_path: Path) -> None:
    content = export_onnx(load_bundle(undisturbed / "teacher").model, (10,))
    model_id = add(rig, tmp_path, content)
    dataset_id = rig.add_dataset(small_data)
    jobs = []
    with running(rig.start_worker(REAL)):
        model = answer(rig, model_id)
        assert model.state == "ready", model.error
        assert model.report is not None
        assert (model.report["num_classes"], model.report["feature_dim"]) == (3, 8)
        assert (model.architecture, model.validated_at is None) == (None, False)
        assert model.storage_key.endswith("teacher.onnx")
        for method in ("logit_kd", "fd_cmkd"):
            spec = small_spec(
                teacher={"modality": "clean", "model": "whatever-its-name"},
                method={"name": method},
                training={"epochs": 1, "batch_size": 16},
                controls={"no_teacher": False},
            )
            jobs.append(rig.add_job(dataset_id, spec, given={"teacher": model_id}))
        for job_id in jobs:
            job = rig.wait_for_end(job_id, "succeeded")
            assert job.result is not None
            found = job.result["teacher"]
            assert (found["epochs"], found["architecture"]) == (0, {"name": "onnx", "opset": 20})
            assert found["weights_sha256"] == hashlib.sha256(content).hexdigest()
            assert found["test"]["accuracy"] > 0.9
            assert set(rig.models(job_id)) == {"student"}
    rig.require_clean_history(jobs)
