"""Bare weights under a real worker: they teach by the architecture that they were uploaded with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from small_job import small_spec
from worker_process import REAL, running
from worker_rig import Rig

from fdkd_core.bundle import load_bundle
from service.tables import Model


def test_uploaded_weights_teach_by_their_own_architecture(
    rig: Rig, small_data: Path, undisturbed: Path
) -> None:
    teacher = undisturbed / "teacher"
    bundle = load_bundle(teacher)
    architecture = bundle.architecture.model_dump(mode="json")
    assert architecture["width"] == 8, "not the default for vectors"
    model_id = rig.add_model(
        teacher / "model.safetensors", format="safetensors", architecture=architecture, state="validating"
    )
    spec = small_spec(
        teacher={"modality": "clean", "model": "weights"},
        training={"epochs": 1, "batch_size": 16},
        controls={"no_teacher": False},
    )

    def read() -> Any:
        with rig.context.database.read() as session:
            model = session.get_one(Model, model_id)
        return model.state != "validating" and model

    dataset_id = rig.add_dataset(small_data)
    with running(rig.start_worker(REAL)):
        model = rig.wait(read, what="an answer on the weights")
        assert model.state == "ready", model.error
        assert model.report["architecture"] == architecture
        job = rig.wait_for_end(rig.add_job(dataset_id, spec, given={"teacher": model_id}), "succeeded")
    assert job.result is not None
    found = job.result["teacher"]
    assert (found["epochs"], found["architecture"]) == (0, architecture)
    assert found["test"]["accuracy"] > 0.9
