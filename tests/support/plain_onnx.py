"""A network of two matrix products, written down without an exporter."""

from __future__ import annotations

import numpy as np
import onnx

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((24, 40)).astype(np.float32)
CLASSIFIER = RNG.standard_normal((40, 7)).astype(np.float32)
INPUTS = RNG.standard_normal((96, 24)).astype(np.float32)


def plain_network() -> bytes:
    """relu(x W) V, written down without an exporter."""
    helper = onnx.helper
    nodes = [
        helper.make_node("MatMul", ["inputs", "w"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["features"]),
        helper.make_node("MatMul", ["features", "v"], ["logits"]),
    ]
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size])
        for name, size in (("inputs", 24), ("logits", 7), ("features", 40))
    ]
    weights = [
        onnx.numpy_helper.from_array(value, name) for name, value in (("w", WEIGHT), ("v", CLASSIFIER))
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    opset = [helper.make_opsetid("", 20)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString())
