"""Small ONNX files, made by hand: one that may teach, and what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
NUM_FEATURES, NUM_HIDDEN, NUM_CLASSES = 10, 8, 3
"""Those of `small_job`, whose column `clean` it takes."""


def array(name: str, values: Any, dtype: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def model_of(
    nodes: list[onnx.NodeProto],
    tensors: list[onnx.TensorProto],
    outputs: dict[str, list[Any]],
    *,
    inputs: dict[str, list[Any]] | None = None,
    dtype: int = TensorProto.FLOAT,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """A model of these nodes; outputs and inputs by name with their shape."""
    taken = inputs or {"inputs": ["batch", NUM_FEATURES]}
    graph = helper.make_graph(
        nodes,
        "made by hand",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in taken.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        tensors,
    )
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10
    )
    return model


def teacher(
    *,
    batch: Any = "batch",
    classes: int = NUM_CLASSES,
    logits: str = "logits",
    features: str | None = "features",
) -> onnx.ModelProto:
    """A multilayer perceptron with random weights: features [8], logits [3]."""
    rng = np.random.default_rng(0)
    hidden = features or "hidden"
    nodes = [
        helper.make_node("Gemm", ["inputs", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], [hidden]),
        helper.make_node("Gemm", [hidden, "w2", "b2"], [logits]),
    ]
    tensors = [
        array("w1", rng.normal(size=(NUM_FEATURES, NUM_HIDDEN))),
        array("b1", np.zeros(NUM_HIDDEN)),
        array("w2", rng.normal(size=(NUM_HIDDEN, classes))),
        array("b2", np.zeros(classes)),
    ]
    outputs: dict[str, list[Any]] = {logits: [batch, classes]}
    if features is not None:
        outputs[features] = [batch, NUM_HIDDEN]
    return model_of(nodes, tensors, outputs, inputs={"inputs": [batch, NUM_FEATURES]})


def point_outside(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Makes a tensor lie in /etc/passwd."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


Change = Callable[[onnx.ModelProto], Any]


def _constant_outside(model: onnx.ModelProto) -> None:
    value = point_outside(array("value", [1.0]))
    model.graph.node.append(helper.make_node("Constant", [], ["k"], value=value))


def _branch(tensor: onnx.TensorProto | None = None, depth: int = 1) -> onnx.NodeProto:
    nodes = [_branch(tensor, depth - 1)] if depth > 1 else []
    inner = helper.make_graph(nodes, "inner", [], [], [tensor] if tensor is not None and depth == 1 else [])
    return helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)


def _sparse(outside: bool) -> onnx.SparseTensorProto:
    values, indices = array("sparse", [1.0]), array("places", [0], np.int64)
    sparse: onnx.SparseTensorProto = helper.make_sparse_tensor(
        point_outside(values) if outside else values, indices, [4]
    )
    return sparse


def _in_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["k"], value=point_outside(array("value", [1.0])))
    model.functions.append(
        helper.make_function("local", "F", [], ["k"], [node], [helper.make_opsetid("", OPSET)])
    )


def _function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(
        helper.make_function("local", "F", ["a"], ["b"], [node], [helper.make_opsetid("", OPSET)])
    )


def drop_out(model: onnx.ModelProto, training: bool = True) -> None:
    """Adds a Dropout before the logits."""
    graph = model.graph
    graph.initializer.extend([array("ratio", 0.5), array("training", training, np.bool_)])
    graph.node[-1].output[:] = ["before"]
    graph.node.append(helper.make_node("Dropout", ["before", "ratio", "training"], ["logits"]))


def _batch_norm(model: onnx.ModelProto) -> None:
    graph = model.graph
    graph.initializer.extend(array(name, np.ones(NUM_CLASSES)) for name in ("s", "b", "m", "v"))
    graph.node[-1].output[:] = ["before"]
    names = ["before", "s", "b", "m", "v"]
    graph.node.append(helper.make_node("BatchNormalization", names, ["logits", "m2", "v2"], training_mode=1))


def _cycle(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Add", ["p", "q"], ["q"]))
    model.graph.node.append(helper.make_node("Identity", ["q"], ["p"]))


def _set_weight(index: int, values: Any, dtype: Any = np.float32) -> Change:
    def change(model: onnx.ModelProto) -> None:
        old = model.graph.initializer[index]
        old.CopyFrom(array(old.name, np.broadcast_to(np.asarray(values, dtype), tuple(old.dims)), dtype))

    return change


def _add_tensor(tensor: onnx.TensorProto) -> Change:
    return lambda model: model.graph.initializer.append(tensor)


def _announce(*dims: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[:] = dims

    return change


def _opset(*versions: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid("", version) for version in versions)

    return change


def _typed(kind: int) -> onnx.TensorProto:
    return onnx.TensorProto(name="odd", data_type=kind, dims=[1], raw_data=b"\0")


def _rename_everywhere(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


BAD_STRUCTURES: dict[str, tuple[str, Change]] = {
    "weights outside": ("external_data_forbidden", lambda m: point_outside(m.graph.initializer[0])),
    "location without the mark": (
        "external_data_forbidden",
        lambda m: m.graph.initializer[0].external_data.add(key="location", value="x"),
    ),
    "mark without location": (
        "external_data_forbidden",
        lambda m: setattr(m.graph.initializer[0], "data_location", TensorProto.EXTERNAL),
    ),
    "a constant outside": ("external_data_forbidden", _constant_outside),
    "outside in a branch": (
        "external_data_forbidden",
        lambda m: m.graph.node.append(_branch(point_outside(array("v", [1.0])))),
    ),
    "outside in a branch of a branch": (
        "external_data_forbidden",
        lambda m: m.graph.node.append(_branch(point_outside(array("v", [1.0])), depth=5)),
    ),
    "outside in a sparse tensor": (
        "external_data_forbidden",
        lambda m: m.graph.sparse_initializer.append(_sparse(outside=True)),
    ),
    "outside in a sparse attribute": (
        "external_data_forbidden",
        lambda m: m.graph.node.append(
            helper.make_node("Constant", [], ["k"], sparse_value=_sparse(outside=True))
        ),
    ),
    "outside in a function": ("external_data_forbidden", _in_function),
    "outside in a training": (
        "external_data_forbidden",
        lambda m: m.training_info.add().algorithm.initializer.append(point_outside(array("v", [1.0]))),
    ),
    "sparse": (
        "unsupported_op",
        lambda m: m.graph.sparse_initializer.append(_sparse(outside=False)),
    ),
    "a training": ("unsupported_op", lambda m: m.training_info.add()),
    "another domain": ("unsupported_op", lambda m: setattr(m.graph.node[0], "domain", "com.evil")),
    "classical machine learning": (
        "unsupported_op", lambda m: setattr(m.graph.node[0], "domain", "ai.onnx.ml"),
    ),
    "a function": ("unsupported_op", _function),
    "If": ("unsupported_op", lambda m: m.graph.node.append(_branch())),
    "If, nested": ("unsupported_op", lambda m: m.graph.node.append(_branch(depth=5))),
    "Loop": ("unsupported_op", lambda m: setattr(m.graph.node[1], "op_type", "Loop")),
    "Scan": ("unsupported_op", lambda m: setattr(m.graph.node[1], "op_type", "Scan")),
    "chance": ("unsupported_op", lambda m: setattr(m.graph.node[1], "op_type", "Bernoulli")),
    "dropout that drops": ("unsupported_op", drop_out),
    "statistics of the batch": ("unsupported_op", _batch_norm),
    "text": ("unsupported_op", lambda m: setattr(m.graph.node[1], "op_type", "RegexFullMatch")),
    "an operator that is none": (
        "unsupported_op", lambda m: setattr(m.graph.node[1], "op_type", "<script>alert(1)</script>" * 99),
    ),
    "an operator of a later opset": ("unsupported_op", lambda m: (
        _opset(13)(m), setattr(m.graph.node[1], "op_type", "Gelu"),
    )),
    "opset 99": ("unsupported_op", _opset(99)),
    "opset 3": ("unsupported_op", _opset(3)),
    "no opset": ("unsupported_op", _opset()),
    "two opsets": ("unsupported_op", _opset(13, 20)),
    "IR of the future": ("unsupported_op", lambda m: setattr(m, "ir_version", 99)),
    "text tensor": (
        "unsupported_op",
        _add_tensor(onnx.TensorProto(name="s", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"])),
    ),
    "complex numbers": ("unsupported_op", _add_tensor(_typed(TensorProto.COMPLEX64))),
    "a type that is none": ("unsupported_op", _add_tensor(_typed(77))),
    "a cycle": ("invalid_onnx", _cycle),
    "an undefined value": (
        "invalid_onnx", lambda m: m.graph.node.append(helper.make_node("Relu", ["nowhere"], ["k"])),
    ),
    "a value made twice": (
        "invalid_onnx", lambda m: m.graph.node.append(helper.make_node("Relu", ["h"], ["features"])),
    ),
    "no graph": ("invalid_onnx", lambda m: m.ClearField("graph")),
    "shape too large": ("invalid_onnx", _announce(1 << 40, 1 << 40)),
    "shape beyond 64 bits": ("invalid_onnx", _announce(*[1 << 62] * 8)),
    "shape that overflows to its size": ("invalid_onnx", _announce(1 << 62, 4, NUM_FEATURES * NUM_HIDDEN)),
    "negative shape": ("invalid_onnx", _announce(-NUM_FEATURES, -NUM_HIDDEN)),
    "a hundred axes": ("invalid_onnx", _announce(*[1] * 98, NUM_FEATURES, NUM_HIDDEN)),
    "weights cut off": (
        "invalid_onnx", lambda m: setattr(m.graph.initializer[0], "raw_data", b"\0" * 7),
    ),
    "numbers in the wrong place": (
        "invalid_onnx", lambda m: m.graph.initializer[0].float_data.extend([1.0] * 80),
    ),
    "giant float64": ("exceeds_limit", _add_tensor(array("wide", np.zeros(65_537), np.float64))),
    "a name of a megabyte": (
        "exceeds_limit", lambda m: _rename_everywhere(m, "h", "h" * (1 << 20)),
    ),
    "a tensor's name of a megabyte": (
        "exceeds_limit", lambda m: setattr(m.graph.initializer[0], "name", "w" * (1 << 20)),
    ),
    "many names": (
        "exceeds_limit",
        lambda m: m.graph.node.extend(
            helper.make_node("Relu", ["h"], [str(n) + "x" * 2_000]) for n in range(30)
        ),
    ),
    "many outputs": (
        "exceeds_limit",
        lambda m: m.graph.output.extend([m.graph.output[0]] * 100),
    ),
    "many nodes": (
        "exceeds_limit",
        lambda m: m.graph.node.extend([helper.make_node("Relu", ["h"], ["k"])] * 50_001),
    ),
    "many tensors": ("exceeds_limit", lambda m: m.graph.initializer.extend([array("t", [0.0])] * 20_001)),
}  # fmt: skip
"""Code, and what makes it of a good file."""


def _bomb(operator: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        sizes = array("sizes", [1 << 20, 1 << 20, 1], np.int64)
        graph.initializer.append(sizes)
        source = ["sizes"] if operator == "ConstantOfShape" else ["one", "sizes"]
        if operator == "Expand":
            graph.node.insert(0, helper.make_node("ReduceSum", ["inputs"], ["one"], keepdims=0))
        graph.node.insert(
            len(graph.node) - 2 if operator == "Expand" else 0, helper.make_node(operator, source, ["big"])
        )
        place = next(i for i, node in enumerate(graph.node) if "big" in node.output)
        graph.node.insert(place + 1, helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0))
        last = graph.node[len(graph.node) - 1]
        last.output[:] = ["before"]
        graph.node.append(helper.make_node("Add", ["before", "sum"], ["logits"]))

    return change


def _two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(
        helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", NUM_FEATURES])
    )


def _input(dtype: int, shape: list[Any]) -> Change:
    def change(model: onnx.ModelProto) -> None:
        del model.graph.input[:]
        model.graph.input.append(helper.make_tensor_value_info("inputs", dtype, shape))

    return change


def _append(operator: str, **attributes: Any) -> Change:
    """One more operator behind the logits."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[:] = ["before"]
        model.graph.node.append(helper.make_node(operator, ["before"], ["logits"], **attributes))

    return change


def _centred(model: onnx.ModelProto) -> None:
    graph = model.graph
    graph.initializer.append(array("axis", [0], np.int64))
    graph.node[-1].output[:] = ["before"]
    graph.node.append(helper.make_node("ReduceMax", ["before", "axis"], ["most"]))
    graph.node.append(helper.make_node("Sub", ["before", "most"], ["logits"]))


def _only_flat(model: onnx.ModelProto) -> None:
    graph = model.graph
    graph.initializer.append(array("all", [-1], np.int64))
    graph.node.append(helper.make_node("Reshape", ["logits", "all"], ["flat"]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["n"]))


BAD_NETWORKS: dict[str, tuple[str, Change]] = {
    "NaN": ("not_finite", _set_weight(0, np.nan)),
    "infinite": ("not_finite", _set_weight(3, np.inf)),
    "all zero": ("all_zero", lambda m: [_set_weight(index, 0.0)(m) for index in range(4)]),
    "NaN at run time": ("not_finite", _append("Log")),
    "two inputs": ("unsupported_signature", _two_inputs),
    "no input": ("unsupported_signature", lambda m: (
        m.graph.initializer.append(array("inputs", np.ones((2, NUM_FEATURES)))),
    )),
    "float64 input": ("unsupported_signature", _input(TensorProto.DOUBLE, ["batch", NUM_FEATURES])),
    "text input": ("unsupported_signature", _input(TensorProto.STRING, ["batch", NUM_FEATURES])),
    "an input of open size": ("unsupported_signature", _input(TensorProto.FLOAT, ["batch", "size"])),
    "an input without axes": ("unsupported_signature", _input(TensorProto.FLOAT, [])),
    "an input of one axis": ("unsupported_signature", _input(TensorProto.FLOAT, [NUM_FEATURES])),
    "an input of six axes": ("unsupported_signature", _input(TensorProto.FLOAT, ["batch", 1, 1, 1, 1, 10])),
    "an input too large": ("exceeds_limit", _input(TensorProto.FLOAT, ["batch", 1 << 40])),
    "a batch too large": ("exceeds_limit", _input(TensorProto.FLOAT, [1 << 30, NUM_FEATURES])),
    "an input that does not fit the weights": ("invalid_onnx", _input(TensorProto.FLOAT, ["batch", 11])),
    "rows that know each other": ("unsupported_signature", _centred),
    "no vectors": ("unsupported_signature", _only_flat),
    "a terabyte": ("exceeds_limit", _bomb("ConstantOfShape")),
    "a terabyte of copies": ("exceeds_limit", _bomb("Expand")),
}  # fmt: skip


def changed(change: Change) -> bytes:
    """The good file after a change, as bytes."""
    model = teacher()
    change(model)
    content: bytes = model.SerializeToString()
    return content
