"""Teachers of segmentation that are no networks of ours: an ONNX file, and columns of recorded maps."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from onnx_samples import teacher as vector_teacher
from pixel_onnx import colours_of, mean_colours, pixel_teacher
from scene_data import CLASSES, SIDE, TRAINING, scene_spec, write_scenes

from fdkd_core.data.dataset import load_dataset
from fdkd_core.errors import InputError
from fdkd_core.models.onnx_teacher import OnnxTeacher
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.onnx_files.network import OnnxNetwork
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import DistillSpec, OutputColumnsSpec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.result import RunResult
from fdkd_core.spec.tasks import VOID
from fdkd_core.training.evaluation import predict_rows
from fdkd_core.validate import validate_dataset

OPTIONS = RunOptions(device="cpu", threads=1)
GIVEN = {"modality": "colour", "model": "teacher.onnx"}
RECORDED = {"outputs_from": {"features": "pooled", "logits": "scores"}}
SHORT: dict[str, Any] = {
    "training": {**TRAINING, "epochs": 1},
    "controls": {"no_teacher": False},
}
ALL_WALL = 0.31
ROWS = 60


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray[Any, Any]:
    """Mean colours of the classes."""
    return mean_colours(write_scenes(tmp_path_factory.mktemp("plain") / "scenes.npz", ROWS))


@pytest.fixture(scope="module")
def content(colours: np.ndarray[Any, Any]) -> bytes:
    """The ONNX file: features 12 x 12, logits 24 x 24."""
    return bytes(pixel_teacher(colours).SerializeToString())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> Path:
    """Scenes with what that network says of every row, as it should be recorded and otherwise."""
    path = write_scenes(tmp_path_factory.mktemp("data") / "scenes.npz", ROWS)
    _, inputs = colours_of(path)
    scores, pooled = OnnxNetwork(content)(inputs, ["logits", "features"])
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.savez(
        path, **np.load(path), pooled=pooled, scores=scores.astype(np.float16),
        chances=chances.astype(np.float16), wide=pooled.repeat(4, axis=2),
        four=scores.repeat(2, axis=1)[:, :4],
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def report(data: Path) -> dict[str, Any]:
    return validate_dataset(data)


def options_with(folder: Path, content: bytes) -> RunOptions:
    path = folder / "teacher.onnx"
    path.write_bytes(content)
    return dataclasses.replace(OPTIONS, models={"teacher.onnx": path})


def checked(spec: DistillSpec, data: Path, out: Path, options: RunOptions) -> RunResult:
    result = run(spec, data, out, options=options)
    assert isinstance(result, RunResult)
    return result


@pytest.fixture(scope="module")
def taught(data: Path, content: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    """The same job by the file and by what it said, long enough to learn."""
    folder = tmp_path_factory.mktemp("taught")
    options = options_with(folder, content)
    changes: dict[str, Any] = {
        "training": {**TRAINING, "epochs": 10, "batch_size": 12},
        "controls": {"no_teacher": False},
    }
    return {
        name: checked(scene_spec(teacher=teacher, **changes), data, folder / name, options)
        for name, teacher in (("onnx", GIVEN), ("recorded", RECORDED))
    }


def test_a_student_learns_from_an_onnx_file(taught: dict[str, RunResult], data: Path, content: bytes) -> None:
    result = taught["onnx"]
    assert result.teacher is not None
    assert result.teacher.architecture == {"name": "onnx", "opset": 20}
    assert result.teacher.weights_sha256 == hashlib.sha256(content).hexdigest()
    assert (result.teacher.epochs, result.teacher_bundle) == (0, None)
    dataset, inputs = colours_of(data)
    test = dataset.splits["test"]
    (logits,) = OnnxNetwork(content)(inputs[test], ["logits"])
    masks = dataset.labels[test]
    right = (logits.argmax(axis=1) == masks)[masks != VOID].mean()
    assert result.teacher.test.pixel_accuracy == pytest.approx(right)
    assert result.teacher.test.mean_iou > 0.6
    assert result.student.test.mean_iou > ALL_WALL + 0.1


def test_what_was_recorded_teaches_as_the_network_does(taught: dict[str, RunResult]) -> None:
    given, result = taught["onnx"], taught["recorded"]
    assert result.teacher is not None
    assert given.teacher is not None
    assert result.teacher.architecture == {"name": "recorded", "features": "pooled", "logits": "scores"}
    # The scores were recorded in half precision, in which a pixel between two classes may change sides.
    assert result.teacher.test.mean_iou == pytest.approx(given.teacher.test.mean_iou, abs=5e-3)
    assert result.student.test.mean_iou == pytest.approx(given.student.test.mean_iou, abs=0.02)
    assert (
        result.student.weights_sha256 == given.student.weights_sha256
    )  # as the maps of both are kept in half


METHODS = ["feature_mse", "fd_cmkd", "pkd", "cirkd"]


@pytest.mark.parametrize("teacher", [GIVEN, RECORDED], ids=["onnx", "recorded"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_by_pixel(method: str, teacher: Any, data: Path, content: bytes, tmp_path: Path) -> None:
    spec = scene_spec(teacher=teacher, method={"name": method}, paired_fraction=0.5, **SHORT)
    result = checked(spec, data, tmp_path / "out", options_with(tmp_path, content))
    assert result.taught[0].paired_rows == 18
    assert np.isfinite(result.student.test.loss)


def test_logits_or_features_alone(data: Path, colours: Any, report: dict[str, Any], tmp_path: Path) -> None:
    alone = bytes(pixel_teacher(colours, features=None, batch=7).SerializeToString())
    options = options_with(tmp_path, alone)
    checked(scene_spec(teacher=GIVEN, **SHORT), data, tmp_path / "onnx", options)
    checked(
        scene_spec(teacher={"outputs_from": {"logits": "scores"}}, **SHORT), data, tmp_path / "l", OPTIONS
    )
    features = {"outputs_from": {"features": "pooled"}}
    result = checked(
        scene_spec(teacher=features, method={"name": "pkd"}, **SHORT), data, tmp_path / "f", OPTIONS
    )
    assert result.teacher is None
    spec = scene_spec(
        teacher=features, more_teachers=[{**GIVEN}], method={"name": "pkd"}, teacher_weighting="confidence"
    )
    found = check(spec, report, more_reports=[OnnxNetwork(alone).report()])
    assert {problem.pointer for problem in found} == {"/method", "/teacher/outputs_from"}


def softmaxed(colours: Any) -> bytes:
    model = pixel_teacher(colours)
    node = model.graph.node[2]
    node.output[:] = ["before"]
    model.graph.node.append(helper.make_node("Softmax", ["before"], ["logits"], axis=1))
    return bytes(model.SerializeToString())


REFUSED: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "vectors": (lambda c: vector_teacher(), {}, "/teacher/outputs/logits", "no map of them"),
    "other classes": (lambda c: pixel_teacher(np.repeat(c, 2, axis=0)), {}, "/teacher/model", "of 6 classes"),
    "larger than the picture": (
        lambda c: pixel_teacher(c, scale=2), {}, "/teacher/outputs/logits", "48 x 48; the input is 24 x 24",
    ),
    "probabilities": (softmaxed, {}, "/teacher/outputs/logits", "comes from Softmax"),
    "no features": (
        lambda c: pixel_teacher(c, features=None), {"method": {"name": "cirkd"}}, "/method", "",
    ),
    "an output that is not there": (
        pixel_teacher, {"teacher": {**GIVEN, "outputs": {"features": "deep"}}}, "/teacher/outputs/features",
        "no output",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_onnx_files_that_do_not_fit(
    case: str, colours: Any, data: Path, report: dict[str, Any], tmp_path: Path
) -> None:
    make, changes, pointer, words = REFUSED[case]
    made = make(colours)
    content = made if isinstance(made, bytes) else bytes(made.SerializeToString())
    spec = scene_spec(**{"teacher": GIVEN, **SHORT, **changes})
    problems = check(spec, report, OnnxNetwork(content).report())
    told = [problem for problem in problems if problem.pointer == pointer]
    assert told, problems
    assert words in told[0].detail
    with pytest.raises(InputError) as caught:
        run(spec, data, tmp_path / "out", options=options_with(tmp_path, content))
    assert list(caught.value.problems) == problems
    assert not (tmp_path / "out").exists()


def test_maps_teach_nothing_else(report: dict[str, Any], content: bytes) -> None:
    """A column that shows no scene; a task that wants vectors; memory."""
    model = OnnxNetwork(content).report()
    assert (model["num_classes"], model["feature_dim"]) == (3, 3)
    found = check(scene_spec(teacher={**GIVEN, "modality": "vector"}), report, model)
    assert "/teacher/modality" in {problem.pointer for problem in found}
    classes = {**report, "label_form": "class"}
    vectors = scene_spec(
        task={"kind": "classification"},
        teacher=GIVEN,
        student={"modality": "vector"},
        method={"name": "logit_kd"},
    )
    (problem,) = check(vectors, classes, model)
    assert (problem.code, problem.pointer) == ("missing_field", "/teacher/outputs/logits")
    assert "no vector of them" in problem.detail
    room = 64 << 20
    for teacher, pointer in ((GIVEN, "/teacher/model"), (RECORDED, "/teacher/outputs_from")):
        spec = scene_spec(teacher=teacher)
        given = model if teacher is GIVEN else None
        assert check(spec, report, given, memory_bytes=room) == []
        many = {**report, "splits": {**report["splits"], "train": {"rows": 30_000}}}
        (problem,) = check(spec, many, given, memory_bytes=room)
        assert (problem.code, problem.pointer) == ("exceeds_limit", pointer)


BAD_COLUMNS: list[tuple[dict[str, str], str, str, str]] = [
    ({"logits": "four"}, "logits", "incompatible", "4 channels; a network for this dataset answers with 3"),
    ({"features": "wide"}, "features", "incompatible", "48 x 12; the masks are 24 x 24"),
    ({"logits": "vector"}, "logits", "incompatible", "outputs are maps"),
    ({"logits": "depth"}, "logits", "incompatible", "is depth; outputs are maps"),
    ({"logits": "absent"}, "logits", "missing_column", "no column"),
]


@pytest.mark.parametrize(
    ("columns", "role", "code", "words"), BAD_COLUMNS, ids=[str(case[0]) for case in BAD_COLUMNS]
)
def test_columns_that_do_not_fit(
    columns: dict[str, str], role: str, code: str, words: str, report: dict[str, Any]
) -> None:
    method = {"name": "pkd" if role == "features" else "logit_kd"}
    (problem,) = check(scene_spec(teacher={"outputs_from": columns}, method=method), report)
    assert (problem.code, problem.pointer) == (code, f"/teacher/outputs_from/{role}")
    assert words in problem.detail


def test_probabilities_by_pixel_are_no_logits(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sum to 1 at every place") as caught:
        run(
            scene_spec(teacher={"outputs_from": {"logits": "chances"}}),
            data,
            tmp_path / "out",
            options=OPTIONS,
        )
    assert [problem.pointer for problem in caught.value.problems] == ["/teacher/outputs_from/logits"]


def test_a_column_that_is_a_students_is_refused(report: dict[str, Any]) -> None:
    (problem,) = check(scene_spec(student={"modality": "pooled"}), report)
    assert (problem.code, problem.pointer) == ("incompatible", "/student/modality")
    assert "this column is map" in problem.detail


def test_maps_are_kept_and_looked_up_in_half_precision(data: Path) -> None:
    dataset = load_dataset(data, ["pooled", "scores"], task=scene_spec().task, workers=1)
    model = RecordedTeacher(OutputColumnsSpec(features="pooled", logits="scores"), dataset)
    assert (model.is_dense, model.feature_dim, model.num_logits) == (True, 3, len(CLASSES))
    rows = np.array([0, 5])
    found = predict_rows(model, dataset.modalities["pooled"], rows, torch.device("cpu"))
    assert found.features.dtype == found.logits.dtype == torch.float16
    arrays = np.load(data)
    np.testing.assert_array_equal(found.logits, arrays["scores"][rows])
    np.testing.assert_array_equal(found.features, arrays["pooled"][rows].astype(np.float16))
    alone = RecordedTeacher(OutputColumnsSpec(features="pooled"), dataset).outputs(rows)
    assert (alone.features.shape, alone.logits.shape) == ((2, 3, 12, 12), (2, 0, 12, 12))


def test_the_wrapper_answers_by_pixel(content: bytes) -> None:
    model = OnnxTeacher(OnnxNetwork(content), "logits", None, "")
    found = model(torch.zeros(2, 3, SIDE, SIDE))
    assert (model.is_dense, found.features.shape) == (True, (2, 0, SIDE, SIDE))
