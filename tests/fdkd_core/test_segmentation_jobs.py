"""Jobs that learn masks, from scenes that the project makes to the student's answers."""

from __future__ import annotations

import dataclasses
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from scene_data import CLASSES, NETWORK, SIDE, TRAINING, scene_spec, scenes, write_scenes
from small_job import NOTHING_MADE

import fdkd_core
from fdkd_core.bundle.predictions import SegmentationPrediction
from fdkd_core.data.dataset import load_dataset
from fdkd_core.errors import IncompatibleError, TrainingInterrupted
from fdkd_core.options import RunOptions
from fdkd_core.phases import Phase, Trained, make_model
from fdkd_core.run import run
from fdkd_core.spec import Conv2dFPNSpec, TrainingSpec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.dense_cost import map_numbers, stored_bytes
from fdkd_core.spec.result import RunResult, parse_result
from fdkd_core.spec.tasks import VOID
from fdkd_core.teacher_cache import TeacherCache
from fdkd_core.validate import validate_dataset

OPTIONS = RunOptions(device="cpu", threads=1)
SHORT = {**TRAINING, "epochs": 1}
BRIEF: dict[str, Any] = {
    "training": SHORT,
    "teacher": {"modality": "colour", "architecture": NETWORK, "train": SHORT},
}
ALL_WALL = 0.31
"""mIoU of calling every pixel wall, the class of 88 % of them."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("data") / "scenes.npz")


@pytest.fixture(scope="module")
def report(data: Path) -> dict[str, Any]:
    """As an upload is reported on, before anybody says what it is for."""
    return validate_dataset(data)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    out = tmp_path_factory.mktemp("run") / "out"
    spec = scene_spec(gates=[{}], export={"onnx": True, "latency_s": 0.0})
    result = run(spec, data, out, options=OPTIONS)
    assert isinstance(result, RunResult)
    return out, result


def test_both_models_learn_what_there_is_to_learn(finished: Any) -> None:
    _, result = finished
    _, splits = scenes()
    masks = scenes()[0]["mask"][np.array(splits) == "test"]
    counted = masks[masks != VOID]
    assert (counted == 0).mean() / len(CLASSES) < ALL_WALL
    assert result.teacher.test.mean_iou > 0.75
    assert min(result.student.test.mean_iou, result.control.test.mean_iou) > ALL_WALL + 0.2
    assert result.student.test.pixel_accuracy > (counted == 0).mean()
    gain = result.uplift.gains[0]
    assert gain.metric == "mean_iou" == result.gates[0].metric
    assert gain.test == result.student.test.mean_iou - result.control.test.mean_iou
    assert gain.standard_error > 0.0


def test_the_result_the_events_and_the_card_tell_the_figures(finished: Any) -> None:
    out, result = finished
    assert parse_result((out / "result.json").read_bytes()) == result
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    epoch = next(event for event in events if event["event"] == "epoch")
    assert {"mean_iou", "mean_pixel_accuracy", "pixel_accuracy", "loss"} <= set(epoch)
    card = (out / "student" / "README.md").read_text()
    for words in ("test mIoU", "Classes (3): wall, ball, box", "prediction.mask"):
        assert words in card
    assert json.loads((out / "student" / "manifest.json").read_text())["onnx"]["equal_predictions"] == 30


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_student_answers_with_masks(finished: Any, backend: Any) -> None:
    out, result = finished
    arrays, splits = scenes()
    test = np.array(splits) == "test"
    depth = list(arrays["depth"][test].astype(np.float32))
    found = fdkd_core.load_student(out / "student", backend=backend).predict_many(depth)
    assert isinstance(found[0], SegmentationPrediction)
    told = np.stack([prediction.mask for prediction in found])
    assert (told.dtype, told.shape) == (np.uint8, (30, SIDE, SIDE))
    wanted = arrays["mask"][test]
    right = (told == wanted)[wanted != VOID].mean()
    assert right == pytest.approx(result.student.test.pixel_accuracy, abs=1e-4)
    assert list(found[0].shares) == CLASSES
    assert found[0].shares["wall"] == (told[0] == 0).mean()


def test_masks_of_another_size_are_met_as_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are of logits at the input's size, as a student hands them out, whatever size masks have."""
    monkeypatch.setattr("fdkd_core.training.evaluation.SCORES_AT_ONCE", 1)  # a row at a time
    arrays, splits = scenes(60)
    places = np.arange(36) * SIDE // 36
    source = tmp_path / "scenes.npz"
    source.with_name("scenes.dataset.yaml").write_text("modalities: {depth: {kind: depth}}\n")
    np.savez(
        source, colour=arrays["colour"], depth=arrays["depth"].astype(np.float32),
        label=arrays["mask"][:, places][:, :, places], split=np.array(splits), class_names=np.array(CLASSES),
    )  # fmt: skip
    result = run(
        scene_spec(**BRIEF, export={"onnx": True, "int8": False}), source, tmp_path / "out", options=OPTIONS
    )
    assert isinstance(result, RunResult)
    assert result.export is not None
    assert result.export.fp32 is not None
    assert result.export.fp32.val == pytest.approx(result.student.val.mean_iou, abs=1e-4)


def test_so_does_the_bare_graph_and_the_example_without_us(finished: Any, tmp_path: Path) -> None:
    out, _ = finished
    session = onnxruntime.InferenceSession(out / "student" / "model.onnx")
    inputs = {"inputs": np.zeros((2, 1, SIDE, SIDE), np.float32)}
    logits, features = session.run(["logits", "features"], inputs)
    assert (logits.shape, features.shape) == ((2, 3, SIDE, SIDE), (2, 12, SIDE // 2, SIDE // 2))
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "predict_onnx.py"))
    value = scenes()[0]["depth"][-1].astype(np.float32)
    np.save(tmp_path / "value.npy", value)
    expected = dataclasses.asdict(fdkd_core.load_student(out / "student").predict(value))
    found = example["predict"](out / "student", tmp_path / "value.npy")
    assert (np.array(found["mask"]) == expected["mask"]).mean() > 0.99
    assert found["shares"] == pytest.approx(expected["shares"], abs=0.01)


def test_a_trained_teacher_teaches_the_next_job(finished: Any, data: Path, tmp_path: Path) -> None:
    """And a student begins with the weights of another."""
    out, first = finished
    models = {"teacher": out / "teacher", "student": out / "student"}
    spec = scene_spec(
        teacher={"modality": "colour", "model": "teacher"}, method={"name": "cirkd", "side": 4},
        student={"modality": "depth", "start": "student"}, training=SHORT, controls={"no_teacher": False},
    )  # fmt: skip
    options = dataclasses.replace(OPTIONS, models=models)
    result = run(spec, data, tmp_path / "out", options=options)
    for name, value in first.teacher.test.model_dump().items():
        # Weights in another layout round otherwise, and a pixel between two classes may change sides.
        assert getattr(result.teacher.test, name) == pytest.approx(value, rel=2e-3)
    assert result.student.test.mean_iou > ALL_WALL + 0.1  # after a single epoch
    wave = {"modality": "depth", "model": "teacher"}
    with pytest.raises(IncompatibleError, match="the model takes image; this column is depth"):
        run(scene_spec(teacher=wave), data, tmp_path / "other", options=options)


def test_a_stop_resumes_to_the_same_bits(data: Path, tmp_path: Path) -> None:
    spec = scene_spec(**BRIEF, method={"name": "fd_cmkd"})
    whole = run(spec, data, tmp_path / "whole", options=OPTIONS)
    asked = iter([False] * 7 + [True] * 9)  # 5 steps of the teacher, then in the student's
    with pytest.raises(TrainingInterrupted):
        run(spec, data, tmp_path / "out", options=OPTIONS, should_stop=lambda: next(asked))
    resumed = run(spec, data, tmp_path / "out", options=OPTIONS)
    assert resumed.student.weights_sha256 == whole.student.weights_sha256
    assert resumed.student.test == whole.student.test


def test_several_teachers_share_it(data: Path, tmp_path: Path) -> None:
    second = {"modality": "depth", "architecture": {**NETWORK, "depth": 3}, "train": SHORT}
    spec = scene_spec(
        **BRIEF, more_teachers=[second], teacher_weighting="confidence", paired_fraction=0.5,
        method={"name": "combine", "parts": [{"method": {"name": "pkd"}}, {"method": {"name": "logit_kd"}}]},
        controls={"no_teacher": False},
    )  # fmt: skip
    result = run(spec, data, tmp_path / "out", options=OPTIONS)
    assert [rows.paired_rows for rows in result.taught] == [36, 36]
    assert len(result.more_teachers) == 1


@pytest.mark.long
def test_a_comparison_of_methods(data: Path, tmp_path: Path) -> None:
    from fdkd_core.spec import MethodJobSpec, load_spec

    shared = scene_spec(**BRIEF, export=NOTHING_MADE).model_dump(
        mode="json", include=set(MethodJobSpec.model_fields) - {"kind", "method"}
    )
    fakes = ["permuted_channels", "shuffled_pairs"]
    spec = load_spec(
        {**shared, "kind": "compare", "methods": [{"name": "fd_cmkd"}], "fake_teachers": fakes,
         "tuning": {"trials": 1}, "seeds": 2}
    )  # fmt: skip
    result = run(spec, data, tmp_path / "out", options=OPTIONS)
    assert result.metric == "mean_iou"
    assert [arm.error for arm in result.arms] == [None] * 4
    assert "mIoU in %" in (tmp_path / "out" / "report" / "comparison.md").read_text()


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"student": {"modality": "depth", "architecture": {"name": "conv2d"}}}, "/student/architecture",
     "conv2d answers once a sample, which segmentation cannot use; take one of conv2d_fpn, segformer, "),
    ({"student": {"modality": "vector"}}, "/student/modality", "this column is vector"),
    ({"teacher": {"modality": "vector"}}, "/teacher/modality", "this column is vector"),
    ({"method": {"name": "rkd"}}, "/method", "segmentation has a map of them"),
    ({"method": {"name": "dist"}}, "/method", "segmentation has a map of them"),
    ({"method": {"name": "fd_cmkd", "basis": "pca"}}, "/method/basis", "principal"),
    ({"pairing": "class"}, "/pairing", "one class a sample"),
    ({"task": {"kind": "classification"}, "method": {"name": "none"}, "teacher": {"modality": "colour"},
      "student": {"modality": "depth"}}, "/task/kind", "of this dataset are masks, for segmentation"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "pointer", "words"), REFUSED, ids=[repr(case[0]) for case in REFUSED])
def test_what_does_not_fit_is_refused(
    report: dict[str, Any], changes: dict[str, Any], pointer: str, words: str
) -> None:
    assert check(scene_spec(), report) == []
    (problem,) = check(scene_spec(**changes), report)
    assert (problem.code, problem.pointer) == ("incompatible", pointer)
    assert words in problem.detail


def test_networks_by_pixel_are_of_no_use_elsewhere() -> None:
    from small_job import small_spec

    spec = small_spec(student={"modality": "picture", "architecture": NETWORK}, method={"name": "cirkd"})
    picture = {"kind": "image", "input_shape": [3, 24, 24]}
    vector = {"kind": "vector", "input_shape": [10]}
    found = check(
        spec,
        {
            "modalities": {"picture": picture, "clean": vector},
            "classes": ["a", "b"],
            "splits": {"train": {"rows": 64}},
        },
    )
    assert {(problem.pointer, problem.detail.split()[0]) for problem in found} == {
        ("/student/architecture", "conv2d_fpn"),
        ("/method", "cirkd"),
    }


def test_memory_counts_maps_and_masks(report: dict[str, Any]) -> None:
    """What fits as networks may not fit with a teacher's maps of all rows, or with masks of many classes."""
    spec = scene_spec(method={"name": "cirkd"})
    room = 64 << 20
    assert check(spec, report, memory_bytes=room) == []
    many = {**report, "splits": {**report["splits"], "train": {"rows": 100_000}}}
    (problem,) = check(spec, many, memory_bytes=room)
    assert (problem.code, problem.pointer) == ("exceeds_limit", "/student/architecture")
    large = {**report, "mask_shape": [1024, 1024]}
    assert {problem.pointer for problem in check(spec, large, memory_bytes=room)} == {
        "/student/architecture", "/teacher/architecture"
    }  # fmt: skip
    wide = scene_spec(method={"name": "cirkd", "side": 32})
    assert [found.code for found in check(wide, report, memory_bytes=room)] == ["exceeds_limit"]


def test_a_teachers_maps_are_kept_small(data: Path, tmp_path: Path) -> None:
    dataset = load_dataset(data, ["colour"], task=scene_spec().task, workers=1)
    architecture = Conv2dFPNSpec(width=4, depth=2, dim=6)
    model = make_model(Phase("teacher", "colour", architecture, "", TrainingSpec()), dataset)
    teacher = Trained("colour", architecture, model, 0, 0, 0.0)

    def outputs(max_bytes: int) -> Any:
        cache = TeacherCache(tmp_path / "cache", max_bytes=max_bytes, warn=pytest.fail)
        return cache.outputs(teacher, dataset, torch.device("cpu"))

    size = stored_bytes(map_numbers(architecture, (3, SIDE, SIDE), 3), 72)
    first = outputs(2 * size - 1)
    assert first.features.dtype == first.logits.dtype == torch.float16
    assert first.features.shape == (72, 6, 12, 12)
    assert sum(part.nbytes for part in first) == size
    cache = tmp_path / "cache"
    assert not list(cache.glob("*.safetensors"))  # more than half of the room there is
    again = [outputs(4 * size) for _ in range(2)]
    (kept,) = cache.glob("*.safetensors")
    assert size < kept.stat().st_size < size + 4096
    assert all(torch.equal(a, b) for found in again for a, b in zip(found, first, strict=True))


def test_auto_tries_the_methods_that_fit() -> None:
    spec = scene_spec(method={"name": "auto"})
    assert [method.name for method in spec.method.methods] == ["logit_kd", "fd_cmkd", "combine"]
