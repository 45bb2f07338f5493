"""Running a checked file: what is tried out before anyone is taught, and the report."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_samples import BAD_NETWORKS, BAD_STRUCTURES, OPSET, array, changed, model_of, teacher
from pixel_onnx import pixel_teacher
from scene_data import SIDE

from fdkd_core.errors import ModelFileError
from fdkd_core.onnx_files.network import CHUNK_ROWS, OnnxNetwork

BOMBS = {case for case in BAD_NETWORKS if "terabyte" in case}


def network(model: onnx.ModelProto) -> OnnxNetwork:
    return OnnxNetwork(model.SerializeToString())


def expected(model: onnx.ModelProto, inputs: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Logits and features by hand."""
    w1, _, w2, _ = (onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
    features = np.maximum(inputs @ w1, 0)
    return features @ w2, features


def test_the_report() -> None:
    found = network(teacher()).report()
    assert found == {
        "format": "onnx", "modality_kind": None, "input_shape": [10], "input_dtype": "float32", "batch": None,
        "vocab_size": None, "source_channels": None, "classes": None, "num_classes": 3, "feature_dim": 8,
        "parameters": 10 * 8 + 8 + 8 * 3 + 3, "architecture": None, "dimensions": None, "opset": OPSET,
        "outputs": [
            {"name": "logits", "shape": [3], "made_by": "Gemm"},
            {"name": "features", "shape": [8], "made_by": "Relu"},
        ],
    }  # fmt: skip
    assert network(teacher(features=None)).report()["feature_dim"] is None
    assert network(teacher(logits="y", features="z")).report()["num_classes"] is None


@pytest.mark.parametrize("batch", ["batch", 1, 7])
@pytest.mark.parametrize("rows", [1, 7, CHUNK_ROWS + 5])
def test_batches_of_any_size(batch: Any, rows: int) -> None:
    model = teacher(batch=batch)
    inputs = np.random.default_rng(1).normal(size=(rows, 10)).astype(np.float32)
    logits, features = network(model)(inputs, ["logits", "features"])
    for found, wanted in zip((logits, features), expected(model, inputs), strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [case for case in BAD_NETWORKS if case not in BOMBS])
def test_networks_that_cannot_teach(case: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, change = BAD_NETWORKS[case]
    with pytest.raises(ModelFileError) as caught:
        OnnxNetwork(changed(change))
    assert {problem.code for problem in caught.value.problems} == {code}, caught.value.problems
    assert all(len(problem.detail) <= 300 for problem in caught.value.problems)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("case", sorted(BOMBS))
def test_a_bomb_goes_off_in_the_child(case: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.onnx"
    path.write_bytes(changed(BAD_NETWORKS[case][1]))
    out = tmp_path / "report.json"
    limit = 3 << 30
    done = subprocess.run(
        [sys.executable, "-m", "fdkd_core.validate", "model", path, "--out", out],
        capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
    assert '"exceeds_limit"' in out.read_text()


def test_structure_comes_first() -> None:
    with pytest.raises(ModelFileError) as caught:
        OnnxNetwork(changed(BAD_STRUCTURES["weights outside"][1]))
    assert [problem.code for problem in caught.value.problems] == ["external_data_forbidden"]


def test_infinities_of_a_mask_are_meant() -> None:
    model = teacher()
    model.graph.initializer.append(array("mask", [-np.inf, 0.0, 0.0]))
    model.graph.node[-1].output[:] = ["before"]
    model.graph.node.append(helper.make_node("Max", ["before", "mask"], ["logits"]))
    assert network(model).report()["num_classes"] == 3


def test_old_files_list_weights_among_the_inputs() -> None:
    model = teacher()
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, list(tensor.dims))
        )
    assert network(model).report()["input_shape"] == [10]


def test_half_precision_is_answered_in_single() -> None:
    model = teacher()
    model.graph.node[-1].output[:] = ["before"]
    model.graph.node.append(helper.make_node("Cast", ["before"], ["logits"], to=TensorProto.FLOAT16))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    (logits,) = network(model)(np.ones((2, 10), np.float32), ["logits"])
    assert logits.dtype == np.float32


def test_maps_are_answers_too_and_judged_alike() -> None:
    colours = np.eye(3, dtype=np.float32)
    found = network(pixel_teacher(colours)).report()
    assert (found["num_classes"], found["feature_dim"]) == (3, 3)
    assert [output["shape"] for output in found["outputs"]] == [[3, SIDE, SIDE], [3, SIDE // 2, SIDE // 2]]
    broken = pixel_teacher(colours)
    broken.graph.node[3].output[:] = ["pooled"]
    broken.graph.node.append(helper.make_node("Log", ["pooled"], ["features"]))
    related = pixel_teacher(colours)
    related.graph.initializer.append(array("first", [0], np.int64))
    related.graph.node[2].output[:] = ["before"]
    related.graph.node.append(helper.make_node("ReduceMax", ["before", "first"], ["most"]))
    related.graph.node.append(helper.make_node("Sub", ["before", "most"], ["logits"]))
    for model, code in ((broken, "not_finite"), (related, "unsupported_signature")):
        with pytest.raises(ModelFileError) as caught:
            network(model)
        assert [problem.code for problem in caught.value.problems] == [code]


def test_token_ids() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "inputs"], ["words"]),
        helper.make_node("ReduceMean", ["words", "axis"], ["logits"], keepdims=0),
    ]
    tensors = [array("table", np.random.default_rng(0).normal(size=(30, 3))), array("axis", [1], np.int64)]
    model = model_of(
        nodes, tensors, {"logits": ["batch", 3]}, inputs={"inputs": ["batch", 6]}, dtype=TensorProto.INT64
    )
    found = network(model).report()
    assert (found["input_dtype"], found["input_shape"], found["parameters"]) == ("int64", [6], 90)
