"""The client against a real server: every exit status, and transfers over connections that are cut."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cutting_proxy import CuttingProxy
from fdkd_command import Terminal, fdkd
from local_server import LocalServer
from onnx_samples import BAD_STRUCTURES, changed, teacher
from retrieval_data import retrieval_arrays, retrieval_spec, write_retrieval_data
from scene_data import CLASSES, SIDE, scene_spec, scenes, write_scenes
from small_job import small_spec, write_small_data
from task_data import task_spec, write_task_data

import fdkd_client
import fdkd_core
from fdkd_client import Client, Job
from fdkd_client.figures import RunFigures

QUICK = {"epochs": 1, "batch_size": 32}
ENDLESS = {"epochs": 5000, "batch_size": 16}


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


@pytest.fixture(scope="module")
def dataset(real: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a dataset that is ready."""
    path = write_small_data(tmp_path_factory.mktemp("data") / "small.npz")
    found = real.datasets.wait(real.datasets.create(path, "small"), timeout_s=60)
    assert found.state == "ready", found.error
    return found.name


@pytest.fixture(scope="module")
def succeeded(real: Client, dataset: str) -> Job:
    """A job that made a student."""
    job = real.jobs.wait(real.jobs.create(spec_of(QUICK)), timeout_s=120)
    assert job.state == "succeeded", job.error
    return job


def spec_of(training: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The small job with this budget."""
    teacher = {"modality": "clean", "architecture": {"name": "mlp", "width": 8}, "train": training}
    spec = small_spec(teacher=teacher, training=training, **changes)
    return spec.model_dump(mode="json", exclude_unset=True)


def write_spec(folder: Path, training: dict[str, Any], **changes: Any) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec_of(training, **changes)))
    return path


def through(proxy: CuttingProxy, server: LocalServer) -> Client:
    return Client(f"http://127.0.0.1:{proxy.port}", server.key)


def test_0_a_job_from_data_to_student(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    rows = [
        f"{n},{'train' if n < 40 else 'test'},{'ab'[n % 2]},{('yes', 'no')[n % 2]} {n}" for n in range(60)
    ]
    (folder / "manifest.csv").write_text("id,split,label,words\n" + "\n".join(rows) + "\n")
    created = fdkd("datasets", "create", folder, "--name", "pairs", "--wait")
    assert created.status == 0, created.stderr
    assert "train" in created.stdout
    assert "words" in created.stdout
    document = {
        "kind": "train",
        "dataset": "pairs",
        "task": {"kind": "classification"},
        "student": {
            "modality": "words",
            "architecture": {"name": "text_transformer", "width": 8, "depth": 1},
        },
        "training": QUICK,
        "export": {"onnx": False, "latency_s": 0.0},
    }
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(document))
    ran = fdkd("jobs", "run", spec, "--wait", "--output", "json", "--metadata", "team=audio")
    assert ran.status == 0, ran.stderr
    job = json.loads(ran.stdout)
    assert job["state"] == "succeeded"
    assert job["metadata"] == {"team": "audio"}
    got = fdkd("students", "download", job["id"], "-o", tmp_path / "student")
    assert got.status == 0, got.stderr
    assert got.stdout == f"{tmp_path / 'student'}\n"
    from fdkd_core import load_student

    assert load_student(tmp_path / "student").predict("yes 7").label in ("a", "b")


def test_0_looking_around(succeeded: Job, dataset: str) -> None:
    assert succeeded.models is not None
    assert succeeded.models.student is not None
    for arguments in (
        ("jobs", "ls"),
        ("jobs", "ls", "--state", "succeeded"),
        ("jobs", "show", succeeded.id),
        ("jobs", "logs", succeeded.id),
        ("jobs", "watch", succeeded.id),
        ("datasets", "ls"),
        ("datasets", "show", dataset),
        ("models", "ls"),
        ("models", "show", succeeded.models.student),
        ("catalog",),
    ):
        ran = fdkd(*arguments)
        assert ran.status == 0, (arguments, ran.stderr)
        assert ran.stdout.strip(), arguments
    for arguments in (("jobs", "ls"), ("datasets", "show", dataset), ("models", "ls"), ("catalog",)):
        assert json.loads(fdkd(*arguments, "--output", "json").stdout)


def test_0_a_student_teaches(succeeded: Job, tmp_path: Path, real: Client) -> None:
    student = real.students.download(succeeded, tmp_path / "student")
    made = fdkd("models", "upload", student, "--name", "mine", "--wait")
    assert made.status == 0, made.stderr
    spec = write_spec(tmp_path, QUICK, student={"modality": "clean"})
    document = yaml.safe_load(spec.read_text())
    document["teacher"] = {"modality": "wave", "model": "mine"}
    spec.write_text(yaml.safe_dump(document))
    assert fdkd("jobs", "run", spec, "--validate-only").status == 0
    searching = tmp_path / "auto.yaml"  # whose methods the server fills in
    searching.write_text(yaml.safe_dump({**document, "method": {"name": "auto", "trials": 24}}))
    ran = fdkd("jobs", "run", searching, "--validate-only")
    assert ran.status == 0, ran.stderr
    document["teacher"]["modality"] = "clean"
    spec.write_text(yaml.safe_dump(document))
    ran = fdkd("jobs", "run", spec, "--validate-only")
    assert ran.status == 5, ran.stdout
    assert "/teacher" in ran.stderr


def test_0_an_onnx_file_teaches(dataset: str, tmp_path: Path) -> None:
    path = tmp_path / "teacher.onnx"
    path.write_bytes(teacher().SerializeToString())
    made = fdkd("models", "upload", path, "--name", "from elsewhere", "--wait", "--output", "json")
    assert made.status == 0, made.stderr
    model = json.loads(made.stdout)
    assert (model["state"], model["format"], model["report"]["feature_dim"]) == ("ready", "onnx", 8)
    assert "onnx" in fdkd("models", "show", model["id"]).stdout
    spec = write_spec(tmp_path, QUICK)
    document = yaml.safe_load(spec.read_text())
    for modality, status in (("clean", 0), ("wave", 5)):
        document["teacher"] = {"modality": modality, "model": model["id"]}
        spec.write_text(yaml.safe_dump(document))
        ran = fdkd("jobs", "run", spec, "--validate-only")
        assert ran.status == status, ran.stderr
    assert "/teacher/model" in ran.stderr
    path.write_bytes(changed(BAD_STRUCTURES["weights outside"][1]))
    refused = fdkd("models", "upload", path, "--name", "outside", "--wait")
    assert refused.status == 5
    assert "lies in another file" in " ".join(refused.stdout.split())


def test_0_numbers_are_learnt_too(real: Client, tmp_path: Path) -> None:
    """From an upload that says what its labels are, to the figures of another task."""
    path = write_task_data(tmp_path / "numbers.npz", "regression", rows=60)
    made = fdkd("datasets", "create", path, "--name", "numbers", "--wait")
    assert made.status == 0, made.stderr
    assert "target1: " in made.stdout
    document = task_spec(
        "regression", name="numbers", dataset="numbers", method={"name": "none"}, training=QUICK
    )
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(document.model_dump(mode="json")))
    ran = fdkd("jobs", "run", spec, "--wait")
    assert ran.status == 0, ran.stderr
    assert "test R²" in ran.stdout
    (job,) = (found for found in real.jobs.list(name="numbers"))
    epochs = [metric for metric in real.jobs.metrics(job.id) if metric.kind == "epoch"]
    assert {"r2", "mae", "rmse", "loss"} <= set(epochs[0].figures)
    other = {**document.model_dump(mode="json"), "task": {"kind": "classification"}, "training": QUICK}
    other["teacher"]["train"] = QUICK
    spec.write_text(json.dumps(other))
    refused = fdkd("jobs", "run", spec, "--validate-only")
    assert refused.status == 5
    assert "/task/kind" in refused.stderr


@pytest.mark.long  # as that of masks, over HTTP; what it learns is tested in the core
def test_0_embeddings_find_each_other(real: Client, tmp_path: Path) -> None:
    """From an upload whose test split shows nobody of training, over HTTP, to a search with the student."""
    few = {"train": 20, "val": 5, "test": 8}
    path = write_retrieval_data(tmp_path / "faces.npz", **few)
    made = fdkd("datasets", "create", path, "--name", "faces", "--wait")
    assert made.status == 0, made.stderr
    assert "(identities)" in made.stdout
    spec = retrieval_spec(name="faces", dataset="faces", training={**QUICK, "epochs": 3})
    job = real.jobs.wait(real.jobs.create(spec.model_dump(mode="json")), timeout_s=120)
    assert job.state == "succeeded", job.error
    shown = fdkd("jobs", "show", job.id)
    assert "R@1" in shown.stdout or "recall@1" in shown.stdout
    folder = real.students.download(job, tmp_path / "student")
    arrays = retrieval_arrays(**few)
    is_test = arrays["split"] == "test"
    found = fdkd_core.load_student(folder).predict_many(list(arrays["wave"][is_test]))
    gallery = np.array([prediction.embedding for prediction in found])
    cosines = gallery @ gallery.T
    np.fill_diagonal(cosines, -2.0)
    labels = arrays["label"][is_test]
    assert isinstance(job.result, RunFigures)
    assert (labels[cosines.argmax(axis=1)] == labels).mean() == job.result.student.test.value("recall_at_1")
    refused = {**spec.model_dump(mode="json"), "method": {"name": "dkd"}}
    with pytest.raises(fdkd_client.RejectedError, match="/spec/method"):
        real.jobs.create(refused)


@pytest.mark.long
def test_0_masks_are_learnt_too(real: Client, tmp_path: Path) -> None:
    """From a folder of pictures and masks to the student that was downloaded."""
    folder = write_scenes(tmp_path / "scenes", 60)
    made = fdkd("datasets", "create", folder, "--name", "scenes", "--wait")
    assert made.status == 0, made.stderr
    assert "wall, ball, box (masks of 24 x 24)" in " ".join(made.stdout.split())
    made_of = scene_spec(name="scenes", dataset="scenes", method={"name": "cirkd", "side": 4})
    document = made_of.model_dump(mode="json")
    short = {**QUICK, "batch_size": 12}
    document["training"], document["teacher"]["train"] = {**short}, {**short}
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(document))
    ran = fdkd("jobs", "run", spec, "--wait")
    assert ran.status == 0, ran.stderr
    assert "test mIoU" in ran.stdout
    (job,) = real.jobs.list(name="scenes")
    epochs = [metric for metric in real.jobs.metrics(job.id) if metric.kind == "epoch"]
    assert {"mean_iou", "mean_pixel_accuracy", "pixel_accuracy", "loss"} <= set(epochs[0].figures)
    student = real.students.download(job, tmp_path / "student")
    from fdkd_core import load_student

    found = load_student(student).predict(scenes(1)[0]["depth"][0].astype(np.float32))
    assert found.mask.shape == (SIDE, SIDE)
    assert list(found.shares) == CLASSES
    document["method"] = {"name": "crd"}
    spec.write_text(yaml.safe_dump(document))
    refused = fdkd("jobs", "run", spec, "--validate-only")
    assert refused.status == 5, refused.stdout
    assert "/method" in refused.stderr
    (folder / "masks" / "00003.png").write_bytes((folder / "colour" / "00003.png").read_bytes())
    bad = fdkd("datasets", "create", folder, "--name", "bad scenes", "--wait")
    assert bad.status == 5
    assert "masks are PNG of class indexes" in " ".join(bad.stdout.split())


@pytest.mark.long
def test_0_recorded_outputs_teach(tmp_path: Path, real: Client) -> None:
    """By columns of the data, from the command line to the figures; the teacher never leaves its home."""
    arrays = dict(np.load(write_small_data(tmp_path / "small.npz")))
    scores = 4.0 * np.eye(3, dtype=np.float32)[arrays["label"]]
    scores[::5] = np.roll(scores[::5], 1, axis=1)  # it errs on every fifth row
    pooled = np.concatenate([scores, np.random.default_rng(0).normal(size=scores.shape)], axis=1)
    np.savez(tmp_path / "recorded.npz", **arrays, scores=scores, pooled=pooled.astype(np.float32))
    assert fdkd("datasets", "create", tmp_path / "recorded.npz", "--name", "recorded", "--wait").status == 0
    document = yaml.safe_load(write_spec(tmp_path, QUICK, dataset="recorded").read_text())
    spec = tmp_path / "spec.yaml"
    for method, logits, status in (
        ("c2kd", "scores", 5),
        ("fd_cmkd", "nowhere", 5),
        ("fd_cmkd", "scores", 0),
    ):
        document["method"] = {"name": method}
        document["teacher"] = {"outputs_from": {"features": "pooled", "logits": logits}}
        spec.write_text(yaml.safe_dump(document))
        ran = fdkd("jobs", "run", spec, *(["--wait"] if status == 0 else ["--validate-only"]))
        assert ran.status == status, ran.stderr
        if status:
            assert ("/method" if method == "c2kd" else "/teacher/outputs_from/logits") in ran.stderr
    assert "recorded" in ran.stdout
    job = next(iter(real.jobs.list()))
    assert isinstance(job.result, RunFigures)
    assert job.result.teacher is not None
    rows = np.arange(len(scores))[arrays["split"] == "test"]
    assert job.result.teacher.test.accuracy == pytest.approx(np.mean(rows % 5 != 0))
    assert job.result.taught[0].paired_rows == 96
    assert job.models is not None
    assert job.models.teacher is None


def test_1_a_job_that_fails(dataset: str, tmp_path: Path) -> None:
    wild = {"epochs": 3, "batch_size": 16, "optimizer": {"name": "sgd", "lr": 100.0}, "augment": "none"}
    spec = write_spec(tmp_path, wild, method={"name": "feature_mse", "weight": 1e6, "normalize": False})
    ran = fdkd("jobs", "run", spec, "--wait")
    assert ran.status == 1, ran.stderr
    assert "diverged" in ran.stdout
    assert "Lower training.optimizer.lr" in ran.stdout


def test_3_4_and_130_a_job_that_goes_on(dataset: str, real: Client, tmp_path: Path) -> None:
    spec = write_spec(tmp_path, ENDLESS)
    started = fdkd("jobs", "run", spec, "--idempotency-key", "e2e-endless")
    job_id = started.stdout.strip()
    assert fdkd("jobs", "run", spec, "--idempotency-key", "e2e-endless").stdout.strip() == job_id
    ran = fdkd("jobs", "watch", job_id, "--timeout", "1")
    assert ran.status == 4
    assert job_id in ran.stderr
    terminal = Terminal("jobs", "watch", job_id)
    terminal.read_until("training the teacher", timeout_s=60)
    terminal.press_ctrl_c()
    assert terminal.wait() == 130
    assert f"fdkd jobs watch {job_id}" in terminal.text
    assert real.jobs.get(job_id).state == "running"
    cancelled = fdkd("jobs", "cancel", job_id)
    assert cancelled.status == 0
    ran = fdkd("jobs", "watch", job_id)
    assert ran.status == 3
    assert "cancelled" in ran.stdout
    again = fdkd("jobs", "retry", job_id).stdout.strip()
    assert real.jobs.get(again).retry_of == job_id
    assert fdkd("jobs", "rm", again).status == 5
    assert fdkd("jobs", "cancel", again).status == 0
    assert fdkd("jobs", "watch", again).status == 3
    assert fdkd("jobs", "rm", job_id, again).status == 0
    assert fdkd("jobs", "show", again).status == 2
    assert real.usage().stored_bytes == sum(real.usage().stored.values()) > 0


def test_5_what_does_not_fit_is_refused(dataset: str, tmp_path: Path) -> None:
    missing = fdkd("jobs", "run", write_spec(tmp_path, QUICK, dataset="nowhere"))
    assert missing.status == 5
    assert "/dataset" in missing.stderr
    blind = fdkd("jobs", "run", write_spec(tmp_path, QUICK, student={"modality": "smell"}), "--validate-only")
    assert blind.status == 5
    assert "smell" in blind.stderr


def test_5_a_dataset_that_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "manifest.csv").write_text(
        "id,split,label,image\n" + "".join(f"{n},train,a,gone.png\n" for n in range(9))
    )
    ran = fdkd("datasets", "create", folder, "--name", "bad", "--wait")
    assert ran.status == 5, ran.stderr
    assert "invalid" in ran.stdout
    assert "gone.png" in ran.stdout
    shown = fdkd("datasets", "show", "bad")
    assert shown.status == 0
    assert fdkd("datasets", "rm", "bad").status == 0
    assert fdkd("datasets", "show", "bad").status == 2


def test_5_a_name_that_is_taken(dataset: str, tmp_path: Path) -> None:
    path = write_small_data(tmp_path / "other.npz", rows=50)
    ran = fdkd("datasets", "create", path, "--name", dataset.upper())
    assert ran.status == 5
    assert "taken" in ran.stderr


def test_5_what_is_refused_does_not_count_as_stored(
    server: LocalServer, real: Client, tmp_path: Path
) -> None:
    path = write_small_data(tmp_path / "other.npz", rows=50)
    with pytest.raises(fdkd_client.RejectedError, match=r"begins or ends with a space"):
        real.datasets.create(path, "a name ")  # known to the server alone
    assert [*(server.data_dir / "uploads").iterdir()] == []


def test_6_a_wrong_key_and_one_that_may_only_look(server: LocalServer, dataset: str, tmp_path: Path) -> None:
    assert fdkd("jobs", "ls", FDKD_API_KEY="fdkd_wrong").status == 6
    made = fdkd("keys", "create", "--name", "look", "--scope", "read", "--data-dir", server.data_dir)
    key = made.stdout.strip()
    assert fdkd("jobs", "ls", FDKD_API_KEY=key).status == 0
    ran = fdkd("jobs", "run", write_spec(tmp_path, QUICK), FDKD_API_KEY=key)
    assert ran.status == 6
    assert "write" in ran.stderr


def big_data(path: Path) -> Path:
    """About 10 MB, so that it is sent in two parts."""
    rng = np.random.default_rng(0)
    num = 220
    np.savez(
        path,
        noise=rng.normal(size=(num, 3000, 4)).astype(np.float32),
        label=np.arange(num) % 2,
        split=np.array(["train"] * 180 + ["test"] * 40),
        id=np.array([f"r{n}" for n in range(num)]),
    )
    return path


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_an_upload_through_cut_connections(server: LocalServer, tmp_path: Path, reset: bool) -> None:
    path = big_data(tmp_path / "big.npz")
    size = path.stat().st_size
    seen: list[int] = []
    with CuttingProxy(server.port, reset=reset) as proxy, through(proxy, server) as client:
        proxy.cut_requests(1_500_000, times=4)
        made = client.datasets.create(path, f"big-{reset}", on_progress=lambda sent, _: seen.append(sent))
        assert proxy.fired == 4
        sent_bytes = proxy.bytes_to_server
    assert made.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert made.size_bytes == size
    assert seen == sorted(seen)
    assert seen[-1] == size
    if not reset:  # what had arrived was not sent again, but for what was on its way
        assert sent_bytes < size + 4 * 1_500_000


def test_an_upload_whose_answers_get_lost(server: LocalServer, real: Client, tmp_path: Path) -> None:
    path = big_data(tmp_path / "big.npz")
    with CuttingProxy(server.port) as proxy, through(proxy, server) as client:
        proxy.drop_replies(2, to=b"PATCH /v1/uploads")
        client.datasets.create(path, "lost-parts")
        assert proxy.fired == 2
        proxy.drop_replies(1, to=b"POST /v1/uploads")
        client.datasets.create(path, "lost-upload")
        assert proxy.fired == 3
        proxy.drop_replies(2, to=b"POST /v1/datasets")
        made = client.datasets.create(path, "lost-dataset")
        assert proxy.fired >= 4
    assert [found.id for found in real.datasets.list(name="lost-dataset")] == [made.id]


def test_a_job_whose_answer_gets_lost_is_one_job(server: LocalServer, real: Client, dataset: str) -> None:
    spec = spec_of(ENDLESS, name="lost-job")
    with CuttingProxy(server.port) as proxy, through(proxy, server) as client:
        proxy.drop_replies(3, to=b"POST /v1/jobs")
        job = client.jobs.create(spec)
        assert proxy.fired == 3
        proxy.drop_replies(1, to=b"/cancel")
        client.jobs.cancel(job.id)
        assert proxy.fired == 4
    assert [found.id for found in real.jobs.list(name="lost-job")] == [job.id]
    assert real.jobs.wait(job.id, timeout_s=60).state == "cancelled"


def test_a_download_through_cut_connections(
    server: LocalServer, real: Client, succeeded: Job, tmp_path: Path
) -> None:
    whole = real.students.download(succeeded, tmp_path / "whole")
    with CuttingProxy(server.port) as proxy, through(proxy, server) as client:
        listing = proxy.bytes_to_client
        client.jobs.artifacts(succeeded.id)
        listing = proxy.bytes_to_client - listing
        proxy.cut_replies(listing + 500, times=2)  # in the first file, and once more
        pieced = client.students.download(succeeded, tmp_path / "pieced")
        assert proxy.fired == 2
    for path in whole.rglob("*"):
        assert (pieced / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_events_through_cut_connections(server: LocalServer, real: Client, dataset: str) -> None:
    """Every event once, in order, to the last; what broke off in between is not seen."""
    with CuttingProxy(server.port) as proxy, through(proxy, server) as client:
        job = client.jobs.create(spec_of(QUICK))
        found = []
        cut_at = time.monotonic()
        for event in client.jobs.events(job.id):
            assert event.type != "message"  # the name of a block that is no event
            if event.id is not None:
                found.append(event)
            if time.monotonic() - cut_at > 0.5 and proxy.fired < 6:
                proxy.cut_all()
                cut_at = time.monotonic()
        assert proxy.fired >= 1
    assert real.jobs.get(job.id).state == "succeeded"
    ids = [event.id for event in found]
    assert ids == sorted(set(ids))  # type: ignore[type-var]
    assert found[-1].type == "job.succeeded"
    assert "job.claimed" in [event.type for event in found]


def test_metrics_logs_and_listings(real: Client, succeeded: Job) -> None:
    metrics = list(real.jobs.metrics(succeeded.id))
    assert {metric.phase for metric in metrics} == {"teacher", "student", "control"}
    assert [metric.id for metric in metrics] == sorted(metric.id for metric in metrics)
    assert list(real.jobs.metrics(succeeded.id, after=metrics[-2].id)) == metrics[-1:]
    assert list(real.jobs.logs(succeeded.id))
    assert succeeded.id in {job.id for job in real.jobs.list(state="succeeded")}
    assert real.catalog().architectures
    with pytest.raises(fdkd_client.NotFoundError):
        real.datasets.find("no such thing")
