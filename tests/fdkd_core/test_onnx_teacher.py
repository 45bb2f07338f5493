"""A given teacher that is an ONNX file: taught with, or refused by the report as by the run itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from onnx import TensorProto, helper
from onnx_samples import NUM_HIDDEN, array, changed, model_of, teacher
from small_job import small_comparison, small_spec, write_small_data
from task_diagnoses import as_diagnosis
from warm_process import run_warm

from fdkd_core.__main__ import main
from fdkd_core.bundle import load_bundle
from fdkd_core.bundle.onnx_export import export_onnx
from fdkd_core.data.dataset import load_dataset
from fdkd_core.errors import InputError
from fdkd_core.models.onnx_teacher import OnnxTeacher
from fdkd_core.onnx_files.network import OnnxNetwork
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import AnyJobSpec, DistillingSpec, load_spec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.result import CompareResult, RunResult
from fdkd_core.teachers import GivenTeacher

GIVEN = {"modality": "clean", "model": "teacher.onnx"}
BRIEF = {"epochs": 1, "batch_size": 16}
QUICK: dict[str, Any] = {"training": BRIEF, "controls": {"no_teacher": False}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small data, with a column of texts."""
    path = write_small_data(tmp_path_factory.mktemp("data") / "small.npz")
    arrays = dict(np.load(path))
    words = np.random.default_rng(1).choice(["low", "high", "noise"], (len(arrays["id"]), 4))
    np.savez(path, **arrays, text=np.array([" ".join(row) for row in words]))
    return path


@pytest.fixture(scope="module")
def original(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """A run that trained its teacher, and that teacher as an ONNX file."""
    folder = tmp_path_factory.mktemp("original")
    result = run(small_spec(), data, folder / "out", options=RunOptions(device="cpu", threads=1))
    assert isinstance(result, RunResult)
    model = load_bundle(folder / "out" / "teacher").model
    (folder / "teacher.onnx").write_bytes(export_onnx(model, (10,)))
    return folder / "teacher.onnx", result


def options_with(path: Path) -> RunOptions:
    return RunOptions(device="cpu", threads=1, models={"teacher.onnx": path})


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_model(content: bytes) -> RunOptions:
        path = tmp_path / "teacher.onnx"
        path.write_bytes(content)
        return options_with(path)

    return write_model


def test_the_same_network_teaches_the_same(
    original: tuple[Path, RunResult], data: Path, tmp_path: Path
) -> None:
    path, first = original
    spec = small_spec(teacher=GIVEN, controls={"no_teacher": False})
    result = run(spec, data, tmp_path / "out", options=options_with(path))
    assert isinstance(result, RunResult)
    assert result.teacher is not None
    assert first.teacher is not None
    assert result.teacher.val.accuracy == first.teacher.val.accuracy
    assert result.teacher.test.loss == pytest.approx(first.teacher.test.loss, abs=1e-5)
    assert result.student.val.loss == pytest.approx(first.student.val.loss, abs=0.02)
    content = path.read_bytes()
    facts = result.teacher.model_dump()
    assert facts | {"val": None, "test": None} == {
        "modality": "clean", "architecture": {"name": "onnx", "opset": 20}, "multiply_adds": 0,
        "parameters": OnnxNetwork(content).parameters, "size_bytes": len(content), "seconds": 0.0,
        "epochs": 0, "best_epoch": 0, "weights_sha256": hashlib.sha256(content).hexdigest(),
        "val": None, "test": None, "latency": None, "execution": None,
    }  # fmt: skip
    assert result.teacher_bundle is None
    assert not (tmp_path / "out" / "teacher").exists()
    assert json.loads((tmp_path / "out" / "result.json").read_text())["teacher"] == facts
    assert "onnx" in (tmp_path / "out" / "student" / "README.md").read_text()


def test_another_file_is_another_run(
    original: tuple[Path, RunResult], data: Path, tmp_path: Path, write: Any
) -> None:
    spec = small_spec(teacher=GIVEN, **QUICK)
    run(spec, data, tmp_path / "out", options=options_with(original[0]))
    with pytest.raises(InputError) as caught:
        run(spec, data, tmp_path / "out", options=write(teacher().SerializeToString()))
    assert [problem.code for problem in caught.value.problems] == ["output_in_use"]


@pytest.mark.parametrize(("method", "batch"), [("logit_kd", 7), ("feature_mse", "batch")])
def test_methods_with_names_of_ones_own(
    method: str, batch: Any, data: Path, tmp_path: Path, write: Any
) -> None:
    options = write(teacher(batch=batch, logits="scores", features="pooled").SerializeToString())
    given = {**GIVEN, "outputs": {"logits": "scores", "features": "pooled"}}
    spec = small_spec(teacher=given, method={"name": method}, **QUICK)
    result = run(spec, data, tmp_path / "out", options=options)
    assert isinstance(result, RunResult)
    assert result.teacher is not None
    assert result.teacher.test.num_samples == 30


def test_rows_without_a_teacher_and_class_means_of_logits_alone(
    data: Path, tmp_path: Path, write: Any
) -> None:
    """A feature of no channels goes through all that is done with outputs."""
    options = write(teacher(features=None).SerializeToString())
    changes = {"paired_fraction": 0.5, "pairing": "class"}
    spec = small_spec(teacher=GIVEN, method={"name": "logit_kd"}, **changes, **QUICK)
    result = run(spec, data, tmp_path / "out", options=options)
    assert isinstance(result, RunResult)
    assert result.taught[0].teacher == "teacher"


def text_network(tokens: int, length: int = 4) -> bytes:
    nodes = [
        helper.make_node("Gather", ["table", "inputs"], ["words"]),
        helper.make_node("ReduceMean", ["words", "axis"], ["logits"], keepdims=0),
    ]
    tensors = [
        array("table", np.random.default_rng(0).normal(size=(tokens, 3))),
        array("axis", [1], np.int64),
    ]
    model = model_of(
        nodes,
        tensors,
        {"logits": ["batch", 3]},
        inputs={"inputs": ["batch", length]},
        dtype=TensorProto.INT64,
    )
    content: bytes = model.SerializeToString()
    return content


def test_a_teacher_of_token_ids(data: Path, tmp_path: Path, write: Any) -> None:
    column = load_dataset(data, ["text"]).report["modalities"]["text"]
    given = {**GIVEN, "modality": "text"}
    spec = small_spec(teacher=given, method={"name": "logit_kd"}, **QUICK)
    (length,) = column["input_shape"]
    run(spec, data, tmp_path / "out", options=write(text_network(column["vocab_size"], length)))
    with pytest.raises(InputError, match="token") as caught:
        run(spec, data, tmp_path / "other", options=write(text_network(column["vocab_size"] - 1, length)))
    assert [problem.pointer for problem in caught.value.problems] == ["/teacher/model"]
    assert not (tmp_path / "other").exists()


def _softmax() -> bytes:
    def change(model: Any) -> None:
        model.graph.node[-1].output[:] = ["before"]
        model.graph.node.append(helper.make_node("Softmax", ["before"], ["logits"]))

    return changed(change)


def _maps() -> bytes:
    def change(model: Any) -> None:
        model.graph.initializer.append(array("shape", [-1, NUM_HIDDEN, 1, 1], np.int64))
        model.graph.node.append(helper.make_node("Reshape", ["features", "shape"], ["maps"]))
        model.graph.output.append(
            helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["batch", NUM_HIDDEN, 1, 1])
        )

    return changed(change)


GOOD = teacher().SerializeToString()
ALONE = teacher(features=None).SerializeToString()
KD = {"name": "logit_kd"}
COMBINED = {"name": "combine", "parts": [{"method": KD}, {"method": {"name": "feature_mse"}}]}

CASES: dict[str, tuple[bytes, dict[str, Any], set[tuple[str, str]]]] = {
    "fine": (GOOD, {}, set()),
    "logits alone, and a method on logits": (ALONE, {"method": KD}, set()),
    "logits alone under another name": (
        teacher(logits="y", features=None).SerializeToString(), {"method": KD}, set(),
    ),
    "logits are what is left beside the features": (teacher(logits="y").SerializeToString(), {}, set()),
    "no method, no features": (ALONE, {"method": {"name": "none"}}, set()),
    "logits alone, and a method on features": (ALONE, {}, {("incompatible", "/method")}),
    "logits alone, and a part on features": (
        ALONE, {"method": COMBINED}, {("incompatible", "/method/parts/1/method")},
    ),
    "which are the logits?": (
        teacher(logits="y", features="z").SerializeToString(), {},
        {("missing_field", "/teacher/outputs/logits")},
    ),
    "outputs that are not there": (
        GOOD, {"teacher": {**GIVEN, "outputs": {"logits": "x", "features": "y"}}},
        {("incompatible", "/teacher/outputs/logits"), ("incompatible", "/teacher/outputs/features")},
    ),
    "one output for both": (
        GOOD, {"teacher": {**GIVEN, "outputs": {"logits": "logits", "features": "logits"}}},
        {("incompatible", "/teacher/outputs/features")},
    ),
    "features that are not pooled": (
        _maps(), {"teacher": {**GIVEN, "outputs": {"features": "maps"}}},
        {("incompatible", "/teacher/outputs/features")},
    ),
    "probabilities": (_softmax(), {}, {("incompatible", "/teacher/outputs/logits")}),
    "other classes": (teacher(classes=4).SerializeToString(), {}, {("incompatible", "/teacher/model")}),
    "another input": (GOOD, {"teacher": {**GIVEN, "modality": "wave"}}, {("incompatible", "/teacher/model")}),
    "numbers for token ids": (
        text_network(9, 10), {"method": KD}, {("incompatible", "/teacher/model")},
    ),
    "an architecture beside it": (
        GOOD, {"teacher": {**GIVEN, "architecture": {"name": "mlp"}}},
        {("incompatible", "/teacher/architecture")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_report_tells_what_a_run_would_say(case: str, data: Path, tmp_path: Path, write: Any) -> None:
    content, changes, expected = CASES[case]
    spec = small_spec(**{"teacher": GIVEN, **QUICK, **changes})
    report = load_dataset(data, None).report
    problems = check(spec, report, OnnxNetwork(content).report())
    assert {(problem.code, problem.pointer) for problem in problems} == expected
    options = write(content)
    if not expected:  # then it runs: above and below
        assert GivenTeacher(spec.teacher, options.models["teacher.onnx"]).sha256
        return
    with pytest.raises(InputError) as caught:
        run(spec, data, tmp_path / "out", options=options)
    assert list(caught.value.problems) == problems
    assert not (tmp_path / "out").exists()


def pointers(spec: AnyJobSpec, data: Path, content: bytes) -> list[str | None]:
    return [
        problem.pointer
        for problem in check(spec, load_dataset(data, None).report, OnnxNetwork(content).report())
    ]


def test_what_needs_more_than_a_frozen_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    basis = {
        name: value
        for name, value in small_spec(teacher=GIVEN, training=BRIEF).model_dump(mode="json").items()
        if name in ("dataset", "task", "teacher", "student", "training")
    }
    study = {**basis, "kind": "study", "method": KD}
    assert pointers(load_spec(study), data, ALONE) == []
    assert pointers(load_spec({**study, "teacher_view": "shuffled_pairs"}), data, ALONE) == []
    assert pointers(load_spec({**study, "teacher_view": "untrained_teacher"}), data, GOOD) == [
        "/teacher_view"
    ]
    permuted = load_spec({**study, "teacher_view": "permuted_channels", "method": {"name": "pkd"}})
    assert pointers(permuted, data, GOOD) == []
    assert sorted(map(str, pointers(permuted, data, ALONE))) == ["/method", "/teacher_view"]
    comparison = {**basis, "kind": "compare", "methods": [KD]}
    named = {**comparison, "fake_teachers": ["untrained_teacher"]}
    assert pointers(load_spec(named), data, GOOD) == ["/fake_teachers"]
    assert pointers(load_spec({**comparison, "fake_teachers": ["shuffled_pairs"]}), data, ALONE) == []
    diagnosis = {**basis, "kind": "diagnose", "method": KD}
    assert pointers(load_spec(diagnosis), data, GOOD) == []
    assert pointers(load_spec(diagnosis), data, ALONE) == ["/teacher/model"]
    monkeypatch.setattr(DistillingSpec, "needs_teacher_inputs", property(lambda self: True))
    assert pointers(load_spec(study), data, GOOD) == ["/method"]


def test_outputs_of_what_has_none(data: Path, original: tuple[Path, RunResult]) -> None:
    with pytest.raises(InputError) as caught:
        small_spec(teacher={"modality": "clean", "outputs": {}})
    assert [(problem.code, problem.pointer) for problem in caught.value.problems] == [
        ("conflicting_fields", "/teacher")
    ]
    bundle = original[0].with_name("out") / "teacher"
    spec = small_spec(teacher={**GIVEN, "outputs": {"logits": "logits"}})
    with pytest.raises(InputError) as caught:
        run(spec, data, original[0].with_name("never"), options=options_with(bundle))
    assert [problem.pointer for problem in caught.value.problems] == ["/teacher/outputs"]
    for name in ("", "a b", "x" * 201, "\u202e"):
        with pytest.raises(InputError):
            small_spec(teacher={**GIVEN, "outputs": {"logits": name}})


def test_bad_files_are_refused_before_anything_is_written(data: Path, tmp_path: Path, write: Any) -> None:
    def outside(model: Any) -> None:
        model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")

    for content, code in ((changed(outside), "external_data_forbidden"), (b"PK\x03\x04", "invalid_onnx")):
        with pytest.raises(InputError) as caught:
            run(small_spec(teacher=GIVEN), data, tmp_path / "out", options=write(content))
        assert [problem.code for problem in caught.value.problems] == [code]
    with pytest.raises(InputError):
        run(small_spec(teacher=GIVEN), data, tmp_path / "out", options=options_with(tmp_path / "none.onnx"))
    assert not (tmp_path / "out").exists()


def test_the_wrapper_has_nothing_to_train() -> None:
    network = OnnxNetwork(GOOD)
    model = OnnxTeacher(network, "logits", "features", "0" * 64)
    assert (model.feature_dim, model.input_dtype) == (NUM_HIDDEN, torch.float32)
    assert list(model.parameters()) == []
    inputs = torch.randn(5, 10, requires_grad=True)
    output = model.train()(inputs)
    assert not output.logits.requires_grad
    assert (output.features.shape, output.logits.shape) == ((5, NUM_HIDDEN), (5, 3))
    assert OnnxTeacher(network, "logits", None, "")(inputs).features.shape == (5, 0)


def test_by_the_command_line(data: Path, original: tuple[Path, RunResult], tmp_path: Path) -> None:
    spec = small_spec(teacher=GIVEN, training=BRIEF)
    path = original[0].with_name("spec.yaml")  # the model lies beside it
    path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_unset=True)))
    done = run_warm(main, path, data, tmp_path / "out", "--threads", "1", "--device", "cpu", COLUMNS="120")
    assert done.returncode == 0, done.stderr
    assert "onnx" in done.stdout
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["teacher"]["epochs"] == 0
    assert result["uplift"] is not None


@pytest.mark.slow
def test_a_comparison_that_names_nothing_runs_with_what_the_file_can_serve(
    data: Path, tmp_path: Path, write: Any
) -> None:
    spec = small_comparison(teacher=GIVEN, training=BRIEF, tuning={"trials": 1}, seeds=1).model_dump(
        mode="json"
    )
    del spec["methods"], spec["fake_teachers"]
    result = run(load_spec(spec), data, tmp_path / "out", options=write(ALONE))
    assert isinstance(result, CompareResult)
    assert [arm.label for arm in result.arms] == ["no_teacher", "logit_kd", "logit_kd shuffled_pairs"]
    assert not any(arm.error for arm in result.arms)


def overflowing(limit: float) -> bytes:
    """The hand-made teacher, whose first logit is infinite where the first input is above the limit."""
    model = teacher(logits="plain")
    graph = model.graph
    graph.node.extend(
        [
            helper.make_node("Gather", ["inputs", "zero"], ["first"], axis=1),
            helper.make_node("Sub", ["first", "limit"], ["over"]),
            helper.make_node("Relu", ["over"], ["beyond"]),
            helper.make_node("Mul", ["beyond", "huge"], ["large"]),
            helper.make_node("Mul", ["large", "huge"], ["infinite"]),
            helper.make_node("Add", ["plain", "infinite"], ["logits"]),
        ]
    )
    graph.initializer.extend([array("zero", [0], np.int64), array("limit", [limit]), array("huge", [1e30])])
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("logits", 3), ("features", NUM_HIDDEN))
    )
    return bytes(model.SerializeToString())


@pytest.fixture
def odd_data(data: Path, tmp_path: Path) -> Path:
    """The small data with an odd first input in one row of each split, so many deviations from the mean."""
    arrays = dict(np.load(data))
    train = arrays["clean"][arrays["split"] == "train", 0]
    for split, value in (("test", 8.0), ("val", 6.0), ("train", 4.5)):
        row = int(np.flatnonzero(arrays["split"] == split)[0])
        arrays["clean"][row, 0] = train.mean() + value * train.std()
    np.savez(tmp_path / "odd.npz", **arrays)
    return tmp_path / "odd.npz"


@pytest.mark.parametrize("kind", ["distill", "compare", "auto"])
def test_a_teacher_that_is_not_finite_somewhere_has_no_figures_and_teaches_all_the_same(
    kind: str, odd_data: Path, tmp_path: Path, write: Any
) -> None:
    options = write(overflowing(7.0 if kind != "auto" else 5.3))
    events: list[dict[str, Any]] = []
    auto = {"name": "auto", "methods": [{"name": "logit_kd"}], "trials": 2, "seeds": 2, "folds": None}
    method = auto if kind == "auto" else {"name": "logit_kd"}
    spec: AnyJobSpec = (
        small_comparison(teacher=GIVEN, training=BRIEF, fake_teachers=[], tuning={"trials": 1})
        if kind == "compare"
        else small_spec(teacher=GIVEN, method=method, training=BRIEF)
    )
    result = run(spec, odd_data, tmp_path / "out", options=options, on_event=events.append)
    assert isinstance(result, RunResult | CompareResult)
    assert result.teacher is None
    assert (tmp_path / "out" / "student" / "model.safetensors").exists()
    told = [event["message"] for event in events if event["event"] == "warning"]
    assert sum("its figures are not known" in message for message in told) == 1


@pytest.mark.parametrize("kind", ["distill", "diagnose"])
def test_a_teacher_that_is_not_finite_where_it_is_needed_is_refused_before_training(
    kind: str, odd_data: Path, tmp_path: Path, write: Any
) -> None:
    options = write(overflowing(4.0))
    spec = small_spec(teacher=GIVEN, method={"name": "logit_kd"})
    asked: AnyJobSpec = spec if kind == "distill" else as_diagnosis(spec)
    events: list[dict[str, Any]] = []
    with pytest.raises(InputError, match="not finite") as caught:
        run(asked, odd_data, tmp_path / "out", options=options, on_event=events.append)
    assert [(problem.code, problem.pointer) for problem in caught.value.problems] == [
        ("incompatible", "/teacher")
    ]
    assert not any(event["event"] == "step" for event in events)
