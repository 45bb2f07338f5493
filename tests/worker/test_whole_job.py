"""A real job through a real worker process, from a row to a student."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from small_job import STEPS_PER_PHASE, WITH_ONNX, small_spec
from sqlalchemy import update
from worker_process import REAL, running
from worker_rig import Rig

from fdkd_core.bundle import load_bundle
from fdkd_core.spec.result import RunResult
from service.tables import Model
from worker.inputs import fetch_inputs, find_inputs


def weights(folder: Path) -> str:
    return json.loads((folder / "result.json").read_text())["student"]["weights_sha256"]


def test_a_job_becomes_a_student(both_rig: Rig, small_data: Path, undisturbed: Path, tmp_path: Path) -> None:
    rig = both_rig
    job_id = rig.add_job(rig.add_dataset(small_data), small_spec(name="a job", **WITH_ONNX))
    with running(rig.start_worker(REAL)) as worker:
        rig.wait(lambda: rig.job(job_id).progress, what="progress")
        job = rig.wait_for_end(job_id, "succeeded")
    assert (job.attempt, job.losses, job.error) == (1, 0, None)
    assert job.result is not None
    RunResult.model_validate_json(json.dumps(job.result))
    assert job.result["student"]["weights_sha256"] == weights(undisturbed)
    assert job.progress == {
        "phase": "publishing", "step": 3 * STEPS_PER_PHASE, "total_steps": 3 * STEPS_PER_PHASE, "epoch": 3,
        "eta_s": None,
    }  # fmt: skip
    rig.require_clean_history([job_id])

    # Artifacts: the bytes are those of the row, the archive holds the bundle and nothing else.
    artifacts = rig.artifacts(job_id)
    for name, artifact in artifacts.items():
        content = rig.read_artifact(job_id, name)
        assert hashlib.sha256(content).hexdigest() == artifact.sha256
        assert len(content) == artifact.size_bytes
    bundle = {"README.md", "config.json", "labels.json", "manifest.json", "model.onnx", "model.safetensors"}
    student = {f"student/{name}" for name in bundle | {"preprocess.json", "figures.svg"}}
    teacher = {name.replace("student", "teacher") for name in student} - {"teacher/model.onnx"}
    files = {"result.json", "data_report.json", "events.jsonl", "student.zip", "teacher.zip"}
    assert set(artifacts) == files | student | teacher
    assert {artifacts[name].media_type for name in files} == {
        "application/json", "application/x-ndjson", "application/zip",
    }  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(rig.read_artifact(job_id, "student.zip"))) as archive:
        assert {f"student/{name}" for name in archive.namelist()} == student
        archive.extractall(tmp_path / "unpacked")
    assert load_bundle(tmp_path / "unpacked").classes == ["0", "1", "2"]

    # Models: both may teach the next job.
    models = rig.models(job_id)
    assert set(models) == {"student", "teacher"}
    row = models["student"]
    assert (row.state, row.source, row.format, row.owner_id) == ("ready", "job", "bundle", job.owner_id)
    assert row.name == f"a job student {job_id}"
    assert row.sha256 == job.result["student"]["weights_sha256"]
    assert row.report is not None
    assert row.report["modality_kind"] == "series"
    assert row.report["classes"] == ["0", "1", "2"]
    assert row.report["parameters"] == job.result["student"]["parameters"]

    # History, curves, log.
    kinds = [event.type for event in rig.events(job_id)]
    assert kinds[0] == "job.claimed"
    assert kinds[-1] == "job.succeeded"
    started = [event.data for event in rig.events(job_id, "job.phase_started")]
    assert [data["phase"] for data in started] == ["teacher", "student", "control", "finalise"]
    assert not any(data["resumed"] for data in started)
    steps = [row for row in rig.metrics(job_id) if (row.phase, row.kind) == ("student", "step")]
    assert [row.step for row in steps] == list(range(1, STEPS_PER_PHASE + 1))
    assert {"loss", "terms", "lr", "samples_per_s"} <= set(steps[0].figures)
    epochs = [row for row in rig.metrics(job_id) if (row.phase, row.kind) == ("student", "epoch")]
    assert [row.epoch for row in epochs] == [1, 2, 3]
    assert "training the student" in rig.log_lines(job_id)

    # Nothing is left behind.
    assert not (rig.context.settings.work_dir / job_id).exists()
    assert worker.trainers() == []


def add_bundle(rig: Rig, bundle: Path) -> str:
    model_id = rig.add_model(bundle / "model.safetensors", format="bundle", state="ready")
    key = f"models/{model_id}/bundle"
    for path in bundle.iterdir():
        rig.context.storage.put(f"{key}/{path.name}", path)
    with rig.context.database.write() as session:
        session.execute(update(Model).where(Model.id == model_id).values(storage_key=key))
    return model_id


def test_given_teachers_teach_a_student_that_begins_with_given_weights(
    rig: Rig, small_data: Path, undisturbed: Path
) -> None:
    model_id, start_id = add_bundle(rig, undisturbed / "teacher"), add_bundle(rig, undisturbed / "student")
    spec = small_spec(
        teacher={"modality": "clean", "model": "whatever-its-name"},
        more_teachers=[{"modality": "clean", "model": "another-name", "weight": 0.5}],
        student={"modality": "wave", "start": "a-third-name"},
        training={"epochs": 1, "batch_size": 16},
        controls={"no_teacher": False},
    )
    given = {"teacher": model_id, "teacher2": model_id, "start": start_id}
    job_id = rig.add_job(rig.add_dataset(small_data), spec, given=given)
    with running(rig.start_worker(REAL)):
        job = rig.wait_for_end(job_id, "succeeded")
    assert job.result is not None
    trained = json.loads((undisturbed / "result.json").read_text())["teacher"]
    assert job.result["teacher"]["epochs"] == 0
    assert job.result["teacher"]["weights_sha256"] == trained["weights_sha256"]
    assert job.result["more_teachers"][0]["weights_sha256"] == trained["weights_sha256"]
    architecture = json.loads((undisturbed / "result.json").read_text())["student"]["architecture"]
    assert job.result["student"]["architecture"] == architecture
    told = [event.data["message"] for event in rig.events(job_id, "job.warning")]
    assert any(text.startswith("the student begins with") and "drawn" not in text for text in told), told
    assert set(rig.models(job_id)) == {"student"}
    # What it said is there for the next job with this teacher and these data.
    cached = list(rig.context.settings.teacher_cache_dir.iterdir())
    assert [path.suffix for path in cached] == [".safetensors"]


def test_bare_weights_are_given_the_architecture_of_their_row(
    rig: Rig, small_data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    architecture = json.loads((undisturbed / "teacher" / "config.json").read_text())["architecture"]
    model_id = rig.add_model(
        undisturbed / "teacher" / "model.safetensors",
        format="safetensors", architecture=architecture, state="ready",
    )  # fmt: skip
    spec = small_spec(teacher={"modality": "clean", "model": "whatever-its-name"})
    job = rig.job(rig.add_job(rig.add_dataset(small_data), spec, given={"teacher": model_id}))
    with rig.context.database.read() as session:
        stored = find_inputs(session, job)
    local = fetch_inputs(rig.context.storage, job, stored, tmp_path)
    document = json.loads((tmp_path / local.spec).read_text())
    assert document["teacher"]["architecture"] == architecture
    # The trainer looks for it beside the spec.
    assert (tmp_path / local.spec).with_name(document["teacher"]["model"]).is_file()
    assert (tmp_path / local.data).is_file()


def test_with_a_broker_the_result_is_the_same(
    make_rig: Callable[..., Rig], postgresql_url: str, redis_url: str, small_data: Path, undisturbed: Path
) -> None:
    rig = make_rig(postgresql_url, broker_url=redis_url, sweep_s=30)
    dataset_id = rig.add_dataset(small_data)
    with running(rig.start_worker(REAL)) as worker:
        rig.wait(lambda: "is ready" in worker.log, what="the worker")
        job_id = rig.add_job(dataset_id)
        # The worker does not look by itself for half a minute: the message is what starts the job.
        rig.context.wake_up.job(job_id)
        rig.wait(lambda: rig.job(job_id).state != "queued", 10, "the start")
        job = rig.wait_for_end(job_id, "succeeded")
    assert job.result is not None
    assert job.result["student"]["weights_sha256"] == weights(undisturbed)
