"""What an ONNX file must be before anything runs it: whole in itself, of known operators, within limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from fdkd_core.errors import ModelFileError, Problem, first_problems, quote

MAX_ONNX_BYTES = 1 << 30
"""250 million float32 parameters, as many as a network of the registry may have. To read a file takes
several times its size."""
MAX_NODES = 50_000
MAX_TENSORS = 20_000
MAX_OUTPUTS = 64
MAX_NAME_CHARACTERS = 1_000
"""Of anything that has a name; exporters write paths of modules, hence more than for safetensors."""
MAX_FLOAT64_NUMBERS = 1 << 16
"""In all float64 tensors together. Exporters leave some constants in float64; weights are float32."""
MIN_OPSET = 7
"""The oldest that onnxruntime runs."""

_DOMAINS = frozenset({"", "ai.onnx"})
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
_NOT_TENSORS = frozenset(
    {"ImageDecoder", "RegexFullMatch", "StringNormalizer", "StringSplit", "StringConcat", "TfIdfVectorizer"}
)
_REFUSED = {
    **dict.fromkeys(_CONTROL_FLOW, "control flow"),
    **dict.fromkeys(_RANDOM, "answers by chance"),
    **dict.fromkeys(_NOT_TENSORS, "reads text or pictures itself"),
}
"""Operators of ONNX that no frozen network of one array needs, and why they are refused."""

_TYPE = onnx.TensorProto
_STORAGE: dict[int, tuple[int, str]] = {
    _TYPE.FLOAT: (4, "float_data"),
    _TYPE.DOUBLE: (8, "double_data"),
    _TYPE.INT64: (8, "int64_data"),
    _TYPE.UINT64: (8, "uint64_data"),
    _TYPE.UINT32: (4, "uint64_data"),
    **dict.fromkeys((_TYPE.INT8, _TYPE.UINT8, _TYPE.BOOL), (1, "int32_data")),
    **dict.fromkeys((_TYPE.INT16, _TYPE.UINT16, _TYPE.FLOAT16, _TYPE.BFLOAT16), (2, "int32_data")),
    _TYPE.INT32: (4, "int32_data"),
}
"""Bytes of one number, and the field that holds the numbers where they are not raw."""


def check_onnx(onnx_file: bytes) -> onnx.ModelProto:
    """Parses ONNX bytes, or says what an honest export never has. No other file is ever opened.

    It does not bound the memory of the parse: for files of strangers, run it in a process that has a limit.

    Raises:
        ModelFileError: `external_data_forbidden`: weights in another file, whose path the model chooses.
            `unsupported_op`: operators outside ONNX, of an unknown version, control flow, functions of its
            own, chance, sparse or exotic tensors. `exceeds_limit`: too large in one of the ways above.
            `invalid_onnx`: not ONNX, tensors that do not hold what they announce, or a graph with a cycle
            or an undefined value. The first ten of a kind are named.
    """
    if len(onnx_file) > MAX_ONNX_BYTES:
        raise _refusal("exceeds_limit", f"{len(onnx_file):,} bytes; at most {MAX_ONNX_BYTES:,} are allowed")
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(onnx_file)
    except DecodeError:
        raise _refusal("invalid_onnx", "this is not an ONNX file") from None
    if not model.HasField("graph"):
        raise _refusal("invalid_onnx", "this is not an ONNX file: it has no graph")
    graphs = [*_graphs(model.graph)]
    _check_external(model, graphs)
    _check_operators(model, graphs)
    _check_sizes(model)
    _check_tensors(model)
    try:
        onnx.checker.check_model(onnx_file)
    except onnx.checker.ValidationError as error:
        reason = quote(" ".join(str(error).split()), 150)
        raise _refusal("invalid_onnx", f"the graph is not valid: {reason}") from None
    return model


def tensors_of(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """All tensors of a graph without nested ones, each with the name by which nodes read it."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            name = node.output[0] if node.output else node.name
            if attribute.HasField("t"):
                yield name, attribute.t
            for tensor in attribute.tensors:
                yield name, tensor


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's operators that a checked model was made for."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in _DOMAINS)


def _check_external(model: onnx.ModelProto, graphs: list[onnx.GraphProto]) -> None:
    everywhere = [*graphs]
    everywhere += [nested for info in model.training_info for nested in _graphs(info.initialization)]
    everywhere += [nested for info in model.training_info for nested in _graphs(info.algorithm)]
    bodies: list[Any] = [*everywhere, *model.functions]
    bodies += [
        nested
        for function in model.functions
        for node in function.node
        for graph in _nested(node)
        for nested in _graphs(graph)
    ]
    found = [name for body in bodies for name, tensor in _all_tensors(body) if _is_external(tensor)]
    _refuse(
        "external_data_forbidden",
        [f"{quote(name)} lies in another file; weights must lie in the ONNX file itself" for name in found],
    )


def _check_operators(model: onnx.ModelProto, graphs: list[onnx.GraphProto]) -> None:
    if model.functions:
        names = [f"the file brings the function {quote(function.name)}" for function in model.functions]
        _refuse("unsupported_op", names)
    if model.training_info:
        raise _refusal("unsupported_op", "the file describes a training")
    nodes = [node for graph in graphs for node in graph.node]
    foreign = dict.fromkeys(node.domain for node in nodes if node.domain not in _DOMAINS)
    _refuse("unsupported_op", [f"the file uses operators of {quote(name)}" for name in foreign])
    versions = {entry.version for entry in model.opset_import if entry.domain in _DOMAINS}
    newest = onnx.defs.onnx_opset_version()
    if len(versions) != 1 or not MIN_OPSET <= (version := versions.pop()) <= newest:
        stated = sorted(entry.version for entry in model.opset_import if entry.domain in _DOMAINS)
        detail = f"the file states the opset {quote(stated)}; one of {MIN_OPSET} to {newest} is allowed"
        raise _refusal("unsupported_op", detail)
    if model.ir_version > onnx.IR_VERSION:
        detail = f"its IR version is {model.ir_version}; at most {onnx.IR_VERSION} is allowed"
        raise _refusal("unsupported_op", detail)
    details = []
    for operator in dict.fromkeys(node.op_type for node in nodes):
        if operator in _REFUSED:
            details.append(f"{operator} is not taken ({_REFUSED[operator]})")
        elif len(operator) > MAX_NAME_CHARACTERS or not _is_known(operator, version):
            details.append(f"ONNX of opset {version} has no operator {quote(operator)}")
    if _is_training(model.graph):
        details.append("it is in training mode (Dropout, BatchNormalization): export it in evaluation mode")
    _refuse("unsupported_op", details)
    if len(graphs) > 1:
        raise _refusal("unsupported_op", "there are graphs within nodes, as only control flow has")
    if model.graph.sparse_initializer or any(
        attribute.HasField("sparse_tensor") or attribute.sparse_tensors
        for node in nodes
        for attribute in node.attribute
    ):
        raise _refusal("unsupported_op", "there are sparse tensors")


def _check_sizes(model: onnx.ModelProto) -> None:
    graph = model.graph
    counts = (
        (len(graph.node), MAX_NODES, "nodes"),
        (sum(1 for _ in tensors_of(graph)), MAX_TENSORS, "tensors"),
        (len(graph.output), MAX_OUTPUTS, "outputs"),
    )
    _refuse(
        "exceeds_limit",
        [f"{count:,} {what}; at most {most:,} are allowed" for count, most, what in counts if count > most],
    )
    long = [name for name in _names(model) if len(name) > MAX_NAME_CHARACTERS]
    _refuse(
        "exceeds_limit",
        [
            f"the name {quote(name, 40)} has {len(name):,} characters; at most {MAX_NAME_CHARACTERS:,} are "
            "allowed"
            for name in long
        ],
    )


def _check_tensors(model: onnx.ModelProto) -> None:
    unknown, wrong, float64 = [], [], 0
    for name, tensor in tensors_of(model.graph):
        storage = _STORAGE.get(tensor.data_type)
        if storage is None:
            unknown.append(f"{quote(name)} holds {_type_name(tensor.data_type)}, which is not taken")
            continue
        item_bytes, field = storage
        dims = list(tensor.dims)
        count = prod(dims)
        held = getattr(tensor, field)
        fits = (
            len(tensor.raw_data) == count * item_bytes and not held
            if tensor.HasField("raw_data")
            else len(held) == count
        )
        if min(dims, default=0) < 0 or len(dims) > 8 or not fits or tensor.HasField("segment"):
            wrong.append(f"{quote(name)} announces the shape {quote(dims, 60)} and does not hold it")
        elif tensor.data_type == _TYPE.DOUBLE:
            float64 += count
    _refuse("unsupported_op", unknown)
    _refuse("invalid_onnx", wrong)
    if float64 > MAX_FLOAT64_NUMBERS:
        detail = f"{float64:,} numbers in float64; at most {MAX_FLOAT64_NUMBERS:,} are allowed: use float32"
        raise _refusal("exceeds_limit", detail)


def _is_training(graph: onnx.GraphProto) -> bool:
    """Whether it may drop values by chance, or look at the batch for its statistics."""
    false = {
        name
        for name, tensor in tensors_of(graph)
        if tensor.data_type == _TYPE.BOOL and not any(tensor.raw_data) and not any(tensor.int32_data)
    }
    return any(
        (node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] not in {"", *false})
        or (
            node.op_type == "BatchNormalization"
            and any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
        )
        for node in graph.node
    )


def _is_known(operator: str, version: int) -> bool:
    try:
        schema = onnx.defs.get_schema(operator, max_inclusive_version=version, domain="")
    except onnx.defs.SchemaError:
        return False
    return not schema.deprecated


def _names(model: onnx.ModelProto) -> Iterator[str]:
    graph = model.graph
    yield graph.name
    for node in graph.node:
        yield node.name
        yield from node.input
        yield from node.output
        for attribute in node.attribute:
            yield attribute.name
    for _, tensor in tensors_of(graph):
        yield tensor.name
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        for dim in value.type.tensor_type.shape.dim:
            yield dim.dim_param


def _all_tensors(body: Any) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Tensors of a graph or a function, those within sparse ones included."""
    sparse = [*getattr(body, "sparse_initializer", ())]
    for node in body.node:
        for attribute in node.attribute:
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for tensor in sparse:
        yield from ((tensor.values.name, part) for part in (tensor.values, tensor.indices))
    if isinstance(body, onnx.GraphProto):
        yield from tensors_of(body)
        return
    for node in body.node:
        for attribute in node.attribute:
            yield node.name, attribute.t
            yield from ((node.name, tensor) for tensor in attribute.tensors)


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.external_data) or tensor.data_location == _TYPE.EXTERNAL


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those nested in its nodes. Protobuf itself limits the nesting to 100."""
    yield graph
    for node in graph.node:
        for nested in _nested(node):
            yield from _graphs(nested)


def _nested(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _type_name(number: int) -> str:
    try:
        return str(_TYPE.DataType.Name(number)).lower()
    except ValueError:
        return f"numbers of the unknown type {number}"


def _refuse(code: str, details: Iterable[str]) -> None:
    problems = first_problems(code, [*details])
    if problems:
        raise ModelFileError(problems)


def _refusal(code: str, detail: str) -> ModelFileError:
    return ModelFileError(Problem(code, f"{detail}."))
