"""Jobs of tasks other than classification, from data that the project makes to the student's answers."""

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
from task_data import HEIGHT, TRAINING, task_spec, write_task_data

import fdkd_core
from fdkd_core.bundle import load_bundle
from fdkd_core.bundle.predictions import MultilabelPrediction, RegressionPrediction
from fdkd_core.errors import IncompatibleError, SpecError, TrainingInterrupted
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import DiagnoseSpec, MethodJobSpec, load_spec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.result import RunResult, parse_result
from fdkd_core.validate import validate_dataset

KINDS = ("multilabel", "regression")
OPTIONS = RunOptions(device="cpu", threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    return {kind: write_task_data(folder / f"{kind}.npz", kind) for kind in KINDS}


@pytest.fixture(scope="module")
def reports(data: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """As an upload is reported on, before anybody says what it is for."""
    return {kind: validate_dataset(data[kind]) for kind in KINDS}


@pytest.fixture(scope="module")
def finished(
    data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, RunResult]]:
    found = {}
    for kind in KINDS:
        out = tmp_path_factory.mktemp("run") / kind
        export = {"onnx": True, "latency_s": 0.1}
        result = run(task_spec(kind, gates=[{}], export=export), data[kind], out, options=OPTIONS)
        assert isinstance(result, RunResult)
        found[kind] = out, result
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_an_upload_says_what_its_labels_are_fit_for(reports: Any, kind: str) -> None:
    report = reports[kind]
    assert report["label_form"] == {"multilabel": "classes", "regression": "numbers"}[kind]
    assert check(task_spec(kind), report) == []
    if kind == "multilabel":
        assert report["classes"] == ["one", "two", "three"]
        assert 0 < report["splits"]["train"]["classes"]["one"] < 160
    else:
        assert report["classes"] == []
        (height, width) = report["targets"]
        assert (height["name"], width["name"]) == ("target1", "target2")
        assert height["mean"] == pytest.approx(HEIGHT[0], abs=15)
        assert height["std"] == pytest.approx(HEIGHT[1], rel=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_both_models_learn_what_there_is_to_learn(finished: Any, kind: str) -> None:
    _, result = finished[kind]
    least = {"multilabel": (0.9, 0.8), "regression": (0.8, 0.6)}[kind]
    name = {"multilabel": "mean_ap", "regression": "r2"}[kind]
    for model, bound in zip((result.teacher, result.student), least, strict=True):
        assert getattr(model.test, name) > bound
    assert result.uplift is not None
    gain = result.uplift.gains[0]
    assert gain.metric == name == result.gates[0].metric
    assert gain.test == getattr(result.student.test, name) - getattr(result.control.test, name)
    assert gain.control == getattr(result.control.test, name)
    assert gain.standard_error > 0.0
    assert result.gates[0].passed is (gain.test >= 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_and_the_events_tell_the_figures_of_the_task(finished: Any, kind: str) -> None:
    out, result = finished[kind]
    assert parse_result((out / "result.json").read_bytes()) == result
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    epoch = next(event for event in events if event["event"] == "epoch")
    figures = set(result.student.val.model_dump()) - {"num_samples"}
    assert figures <= set(epoch)
    card = (out / "student" / "README.md").read_text()
    for words in {"multilabel": ("mAP", "micro-F1", "Classes (3): one, two, three"), "regression": ("MAE",)}[
        kind
    ]:
        assert words in card


@pytest.mark.parametrize("kind", KINDS)
def test_size_time_and_what_int8_loses_are_told_in_its_figure(finished: Any, kind: str) -> None:
    out, result = finished[kind]
    name, words = {"multilabel": ("mean_ap", "mAP"), "regression": ("r2", "R²")}[kind]
    assert result.student.latency is not None
    assert result.teacher.latency is not None
    assert result.export.fp32.metric == name
    # The ONNX file answers in the units of the data, and its figure is of the same answers.
    assert result.export.fp32.val == pytest.approx(getattr(result.student.val, name), rel=1e-4)
    assert {file.scheme for file in result.export.int8} == {"dynamic", "static"}
    card = (out / "student" / "README.md").read_text()
    for file in result.export.int8:
        assert file.metric == name
        assert file.val == pytest.approx(result.export.fp32.val, abs=0.1)
        assert f"of validation {words} (at most" in file.reason
        assert file.reason in card
    assert (out / "student" / "model.int8.onnx").exists() is (result.export.kept is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_teacher_said_teaches_like_the_teacher(
    finished: Any, data: Any, kind: str, tmp_path: Path
) -> None:
    out, first = finished[kind]
    bundle = load_bundle(out / "teacher")
    arrays = dict(np.load(data[kind]))
    with torch.no_grad():
        said = bundle.model(torch.from_numpy(bundle.preprocessor.prepare(list(arrays["clean"]))))
    scores = said.logits.numpy()  # of a regression in the units of the data, as the bundle answers
    np.savez(
        tmp_path / "data.npz", **arrays, scores=scores, pooled=said.features.numpy(),
        chances=said.logits.sigmoid().numpy(), one=scores[:, :1],
    )  # fmt: skip

    def spec(logits: str) -> MethodJobSpec:
        columns = {"logits": logits, "features": "pooled"}
        return task_spec(kind, teacher={"outputs_from": columns}, controls={"no_teacher": False})

    result = run(spec("scores"), tmp_path / "data.npz", tmp_path / "out", options=OPTIONS)
    assert result.teacher.architecture["name"] == "recorded"
    for name, value in first.teacher.test.model_dump().items():
        assert getattr(result.teacher.test, name) == pytest.approx(value, rel=1e-3)
    for name, value in first.student.test.model_dump().items():
        assert getattr(result.student.test, name) == pytest.approx(value, rel=0.05)
    refused = [("one", "numbers a row; a network for this dataset answers with")]
    refused += [("chances", "lie between 0 and 1")] if kind == "multilabel" else []
    for column, words in refused:
        with pytest.raises(IncompatibleError, match=words) as caught:
            run(spec(column), tmp_path / "data.npz", tmp_path / "refused", options=OPTIONS)
        assert [problem.pointer for problem in caught.value.problems] == ["/teacher/outputs_from/logits"]


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_student_answers_with_sets(finished: Any, data: Any, backend: Any) -> None:
    out, result = finished["multilabel"]
    arrays = np.load(data["multilabel"])
    test = arrays["split"] == "test"
    found = fdkd_core.load_student(out / "student", backend=backend).predict_many(list(arrays["wave"][test]))
    assert isinstance(found[0], MultilabelPrediction)
    names = ["one", "two", "three"]
    wanted = [[n for n, there in zip(names, row, strict=True) if there] for row in arrays["label"][test]]
    right = np.mean([prediction.labels == names for prediction, names in zip(found, wanted, strict=True)])
    assert right == pytest.approx(result.student.test.exact_match)
    for prediction in found:
        assert prediction.labels == [name for name, p in prediction.probabilities.items() if p >= 0.5]


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_student_answers_in_the_units_of_the_data(finished: Any, data: Any, backend: Any) -> None:
    out, result = finished["regression"]
    arrays = np.load(data["regression"])
    test = arrays["split"] == "test"
    found = fdkd_core.load_student(out / "student", backend=backend).predict_many(list(arrays["wave"][test]))
    assert isinstance(found[0], RegressionPrediction)
    assert found[0].value == found[0].values["target1"]
    told = np.array([list(prediction.values.values()) for prediction in found])
    assert np.abs(told - arrays["label"][test]).mean() == pytest.approx(result.student.test.mae, rel=1e-4)


def test_so_does_the_bare_graph(finished: Any) -> None:
    """Whoever runs model.onnx without us must not have to know of any scale."""
    out, _ = finished["regression"]
    session = onnxruntime.InferenceSession(out / "student" / "model.onnx")
    (logits,) = session.run(["logits"], {"inputs": np.zeros((1, 1, 24), np.float32)})
    assert abs(logits[0, 0] - HEIGHT[0]) < 4 * HEIGHT[1]
    manifest = json.loads((out / "student" / "manifest.json").read_text())
    assert manifest["onnx"]["equal_predictions"] == 60


@pytest.mark.parametrize("kind", KINDS)
def test_so_does_the_example_without_us(finished: Any, data: Any, kind: str, tmp_path: Path) -> None:
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "predict_onnx.py"))
    out, _ = finished[kind]
    value = np.load(data[kind])["wave"][-1]
    np.save(tmp_path / "value.npy", value)
    expected = dataclasses.asdict(fdkd_core.load_student(out / "student").predict(value))
    found = example["predict"](out / "student", tmp_path / "value.npy")
    assert found.pop("labels", None) == expected.pop("labels", None)
    ((name, numbers),) = found.items()
    assert numbers == pytest.approx(expected.pop(name), rel=1e-4)
    assert expected == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_teacher_teaches_the_next_job_the_same(
    finished: Any, data: Any, kind: str, tmp_path: Path
) -> None:
    out, first = finished[kind]
    given = {"modality": "clean", "model": "teacher"}
    options = RunOptions(device="cpu", threads=1, models={"teacher": out / "teacher"})
    result = run(task_spec(kind, teacher=given), data[kind], tmp_path / "out", options=options)
    for name, value in first.teacher.test.model_dump().items():
        assert getattr(result.teacher.test, name) == pytest.approx(value, rel=1e-4)
    for name, value in first.student.test.model_dump().items():
        assert getattr(result.student.test, name) == pytest.approx(value, rel=0.05)


def test_a_stop_resumes_to_the_same_bits(data: Any, tmp_path: Path) -> None:
    spec = task_spec("regression", method={"name": "fd_cmkd"}, training={**TRAINING, "epochs": 1})
    whole = run(spec, data["regression"], tmp_path / "whole", options=OPTIONS)
    asked = iter([False] * 87 + [True] * 9)  # 80 steps of the teacher, then in the student's
    with pytest.raises(TrainingInterrupted):
        run(spec, data["regression"], tmp_path / "out", options=OPTIONS, should_stop=lambda: next(asked))
    resumed = run(spec, data["regression"], tmp_path / "out", options=OPTIONS)
    assert resumed.student.weights_sha256 == whole.student.weights_sha256
    assert resumed.student.test == whole.student.test


def test_a_teacher_of_another_task_is_refused(finished: Any, data: Any, tmp_path: Path) -> None:
    out, _ = finished["multilabel"]
    given = {"modality": "clean", "model": "teacher"}
    options = RunOptions(device="cpu", threads=1, models={"teacher": out / "teacher"})
    with pytest.raises(IncompatibleError, match="trained for multilabel; the job is regression"):
        run(task_spec("regression", teacher=given), data["regression"], tmp_path / "out", options=options)


ONE_CLASS = [
    ({"method": {"name": name}}, "/method") for name in ("c2kd", "dist", "dkd", "lskd", "nkd", "ofa_kd")
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        *ONE_CLASS,
        ({"method": {"name": "crd"}}, "/method/exclude_same_class"),
        ({"method": {"name": "fd_cmkd", "basis": "class"}}, "/method/basis"),
        (
            {
                "method": {
                    "name": "combine",
                    "parts": [{"method": {"name": "rkd"}}, {"method": {"name": "nkd"}}],
                }
            },
            "/method/parts/1/method",
        ),
        (
            {"method": {"name": "auto", "methods": [{"name": "logit_kd"}, {"name": "dist"}]}},
            "/method/methods/1",
        ),
        ({"pairing": "class"}, "/pairing"),
        ({"task": {"kind": "classification"}}, "/task/kind"),
    ],
    ids=repr,
)
def test_what_needs_one_class_a_sample_is_refused(
    reports: Any, kind: str, changes: dict[str, Any], pointer: str
) -> None:
    (problem,) = check(task_spec(kind, **changes), reports[kind])
    assert (problem.code, problem.pointer) == ("incompatible", pointer)


@pytest.mark.parametrize("kind", KINDS)
def test_auto_tries_the_methods_that_fit(kind: str) -> None:
    spec = task_spec(kind, method={"name": "auto"})
    assert [method.name for method in spec.method.methods] == ["logit_kd", "fd_cmkd", "combine"]
    assert load_spec(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize("kind", KINDS)
def test_a_diagnosis_may_be_of_it(reports: Any, kind: str) -> None:
    document = task_spec(kind).model_dump(mode="json", include=set(DiagnoseSpec.model_fields))
    assert check(load_spec({**document, "kind": "diagnose"}), reports[kind]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_figures_of_another_task_are_refused(kind: str) -> None:
    with pytest.raises(SpecError) as caught:
        task_spec(kind, training={"select_by": "accuracy"}, gates=[{}, {"metric": "accuracy"}])
    assert [(p.code, p.pointer) for p in caught.value.problems] == [
        ("not_allowed", "/training/select_by"), ("not_allowed", "/gates/1/metric"),
    ]  # fmt: skip


def test_a_comparison_is_in_the_figure_of_its_task(data: Any, tmp_path: Path) -> None:
    """By MAE, of which less is better: differences and the choice of the best are turned."""
    short = {**TRAINING, "epochs": 1, "select_by": "mae"}
    shared = task_spec("regression", training=short).model_dump(
        mode="json", include=set(MethodJobSpec.model_fields) - {"kind", "method"}
    )
    spec = load_spec(
        {**shared, "kind": "compare", "methods": [{"name": "logit_kd"}], "fake_teachers": [],
         "tuning": {"trials": 1}, "seeds": 2}
    )  # fmt: skip
    result = run(spec, data["regression"], tmp_path / "out", options=OPTIONS)
    control, arm = result.arms
    assert result.metric == "mae"
    assert arm.difference.mean == pytest.approx(control.test.mean - arm.test.mean)
    best = min(result.arms, key=lambda found: found.val.mean)
    assert result.best == best.label
    report = tmp_path / "out" / "report"
    assert "turned so that more is better" in (report / "comparison.md").read_text()
    handed_over, arm_s = (
        fdkd_core.load_student(tmp_path / "out" / p) for p in ("student", f"arms/{best.label}/student")
    )
    with np.load(data["regression"]) as arrays:
        rows = arrays[spec.student.modality][arrays["split"] == "test"]
    values = np.array([found.values for found in handed_over.predict_many(list(rows))])
    assert np.array_equal(values, np.array([found.values for found in arm_s.predict_many(list(rows))]))
    assert (
        (report / "comparison.csv")
        .read_text()
        .startswith("direction,method,seed,lr,weights,trials,val_metric")
    )


def test_several_teachers_share_a_regression(data: Any, tmp_path: Path) -> None:
    second = {
        "modality": "wave",
        "architecture": {"name": "mlp", "width": 8},
        "train": {**TRAINING, "epochs": 1},
    }
    spec = task_spec(
        "regression", more_teachers=[second], teacher_weighting="confidence", paired_fraction=0.5,
        training={**TRAINING, "epochs": 1}, method={"name": "logit_kd"}, controls={"no_teacher": False},
    )  # fmt: skip
    result = run(spec, data["regression"], tmp_path / "out", options=OPTIONS)
    assert [rows.paired_rows for rows in result.taught] == [80, 80]
    assert len(result.more_teachers) == 1
