from __future__ import annotations

import logging
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from plain_onnx import CLASSIFIER, INPUTS, RNG, WEIGHT, plain_network

from fdkd_core.bundle.onnx_int8 import quantise_dynamic, quantise_static
from fdkd_core.bundle.onnx_session import OnnxSession, check_onnx


def rounded_weight(weight: Any) -> Any:
    """Seven bits, one scale per matrix, symmetric."""
    scale = np.abs(weight.astype(np.float64)).max() / 64
    return np.round(weight / scale) * scale


def rounded_activation(values: Any) -> Any:
    """Eight bits between the least (or 0) and the largest value of the batch."""
    low, high = min(0.0, values.min()), max(0.0, values.max())
    scale = (high - low) / 255
    zero = np.round(-low / scale)
    return (np.clip(np.round(values / scale) + zero, 0, 255) - zero) * scale


def test_the_products_are_those_of_rounded_weights_and_activations() -> None:
    """Against the definition, in float64; without the seventh bit some kernels would saturate."""
    hidden = np.maximum(rounded_activation(INPUTS.astype(np.float64)) @ rounded_weight(WEIGHT), 0)
    expected = rounded_activation(hidden) @ rounded_weight(CLASSIFIER)
    found = OnnxSession(quantise_dynamic(plain_network()), threads=1)(INPUTS)
    # A value that lies between two steps may be moved to the other one by float32 scales.
    step = (hidden.max() / 255) * np.abs(CLASSIFIER).max()
    assert np.abs(found - expected).max() < step
    plain = np.maximum(INPUTS.astype(np.float64) @ WEIGHT, 0) @ CLASSIFIER
    assert np.abs(found - plain).max() > 5 * step


@pytest.mark.parametrize("quantise", [quantise_dynamic, partial(quantise_static, inputs=INPUTS)])
@pytest.mark.parametrize("product", ["Gemm", "MatMul"])
def test_the_last_layer_may_stay_as_it_is(quantise: Any, product: str) -> None:
    """Answers of two units: rounded by one step, the smaller number would be noise."""
    proto = onnx.ModelProto.FromString(plain_network())
    first, _, last = proto.graph.node
    first.op_type = last.op_type = product
    first.name, last.name = "first", "last"
    units = np.array([1e3, 1, 1, 1, 1, 1, 1e-3], np.float32)
    classifier = onnx.numpy_helper.from_array(CLASSIFIER * units, "v")
    proto.graph.initializer[1].CopyFrom(classifier)
    file = bytes(proto.SerializeToString())
    plain = OnnxSession(file, threads=1)(INPUTS)
    rounded, kept = (OnnxSession(quantise(file, but_last=b), threads=1)(INPUTS) for b in (False, True))
    errors = [np.abs(found - plain).std(axis=0) / plain.std(axis=0) for found in (rounded, kept)]
    assert errors[0][-1] > 0.5
    assert errors[1].max() < 0.05
    assert not np.array_equal(kept, plain), "the layer before it is rounded"


@pytest.mark.parametrize("quantise", [quantise_dynamic, lambda file: quantise_static(file, INPUTS)])
def test_the_file_is_plain_onnx_and_repeatable(quantise: Any, caplog: pytest.LogCaptureFixture) -> None:
    handlers = [*logging.getLogger().handlers]
    data = quantise(plain_network())
    assert quantise(plain_network()) == data
    assert 0.2 < len(data) / len(plain_network()) < 0.9
    proto = check_onnx(data)
    assert [value.name for value in proto.graph.output] == ["logits", "features"]
    assert caplog.text == ""
    assert logging.getLogger().handlers == handlers


def test_convolutions_are_rounded_by_static_ranges_alone() -> None:
    helper = onnx.helper
    kernels = onnx.numpy_helper.from_array(RNG.standard_normal((4, 2, 15)).astype(np.float32), "k")
    classifier = onnx.numpy_helper.from_array(RNG.standard_normal((8, 3)).astype(np.float32), "v")
    nodes = [
        helper.make_node("Conv", ["inputs", "k"], ["maps"]),
        helper.make_node("Flatten", ["maps"], ["features"]),
        helper.make_node("Gemm", ["features", "v"], ["logits"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("inputs", ["batch", 2, 16]), ("logits", ["batch", 3]))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [kernels, classifier])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    proto = onnx.ModelProto.FromString(quantise_dynamic(model.SerializeToString()))
    operators = [node.op_type for node in proto.graph.node]
    assert operators.count("Conv") == 1
    assert "ConvInteger" not in operators
    assert operators.count("MatMulInteger") == 1
    inputs = RNG.standard_normal((40, 2, 16)).astype(np.float32)
    static = quantise_static(model.SerializeToString(), inputs)
    kernels = next(t for t in check_onnx(static).graph.initializer if t.name == "k_quantized")
    assert kernels.data_type == onnx.TensorProto.INT8
    plain = OnnxSession(model.SerializeToString())(inputs)
    assert 0 < np.abs(OnnxSession(static)(inputs) - plain).max() < 0.05 * np.abs(plain).max()


def test_static_ranges_come_from_all_inputs_and_hold_for_others() -> None:
    """What lies outside of what was seen is cut off at its edge."""
    seen = OnnxSession(quantise_static(plain_network(), INPUTS))
    last = OnnxSession(quantise_static(plain_network(), np.concatenate([0.01 * INPUTS, INPUTS[-1:]])))
    plain = OnnxSession(plain_network())
    largest = np.abs(plain(INPUTS)).max()
    assert np.abs(seen(INPUTS) - plain(INPUTS)).max() < 0.1 * largest
    assert np.abs(last(INPUTS[-1:]) - plain(INPUTS[-1:])).max() < 0.1 * largest
    assert np.abs(seen(100 * INPUTS)).max() < 3 * largest, "a hundred times as large without rounding"
