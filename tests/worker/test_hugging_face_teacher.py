"""A Hugging Face folder under a real worker: made into a bundle in the limited child, then taught with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_folders import LABELS, save_hub_folder
from worker_process import REAL, running
from worker_rig import Rig

from fdkd_client.archive import zip_folder
from fdkd_core.spec import load_spec
from service.tables import Model


@pytest.mark.long
def test_a_folder_of_the_hub_teaches(rig: Rig, tmp_path: Path) -> None:
    theirs = save_hub_folder("vit", tmp_path / "hub")
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (40, 24, 32, 3)).astype(np.uint8)
    answers = theirs.logits(list(pictures)).argmax(axis=1)
    np.savez(
        tmp_path / "data.npz",
        picture=pictures,
        vector=(np.eye(3)[answers] + 0.1 * rng.normal(size=(40, 3))).astype(np.float32),
        label=np.array([LABELS[answer] for answer in answers]),
        split=np.array(["train"] * 24 + ["val"] * 8 + ["test"] * 8),
    )
    zip_folder(tmp_path / "hub", tmp_path / "hub.zip")
    model_id = rig.add_model(tmp_path / "hub.zip", format="bundle", state="validating")
    spec: Any = load_spec(
        {
            "kind": "distill", "dataset": "d", "task": {"kind": "classification"},
            "teacher": {"modality": "picture", "model": "hub"}, "student": {"modality": "vector"},
            "training": {"epochs": 1, "batch_size": 8}, "export": {"onnx": False},
            "controls": {"no_teacher": False},
        }
    )  # fmt: skip

    def read() -> Any:
        with rig.context.database.read() as session:
            model = session.get_one(Model, model_id)
        return model.state != "validating" and model

    dataset_id = rig.add_dataset(tmp_path / "data.npz")
    with running(rig.start_worker(REAL)):
        model = rig.wait(read, what="an answer on the folder")
        assert model.state == "ready", model.error
        assert model.architecture is not None
        assert model.report is not None
        assert model.architecture["name"] == "vit"
        assert model.report["classes"] == sorted(LABELS.values())
        job = rig.wait_for_end(rig.add_job(dataset_id, spec, given={"teacher": model_id}), "succeeded")
    assert job.result is not None
    assert job.result["teacher"]["test"]["accuracy"] == 1.0  # the labels are its own answers
    assert job.result["teacher"]["architecture"]["name"] == "vit"
