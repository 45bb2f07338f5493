"""The numbers in a checked ONNX file."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
from onnx import numpy_helper

from fdkd_core.errors import Problem, first_problems, quote
from fdkd_core.onnx_files.structure import tensors_of

_TYPE = onnx.TensorProto
_FLOATS = frozenset({_TYPE.FLOAT, _TYPE.DOUBLE, _TYPE.FLOAT16, _TYPE.BFLOAT16})
_LEARNT = _FLOATS | {_TYPE.INT8, _TYPE.UINT8}
_WEIGHTED = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "Gather", "PRelu", "LSTM", "GRU", "RNN"}
    | {"BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"}
)
"""Operators that read weights. Elsewhere an infinity may be meant: attention masks are made of them."""


def parameter_count(model: onnx.ModelProto) -> int:
    """Numbers in the initialisers, without those of integer types, which are shapes and indices.

    Exporters fold batch norms into convolutions, so it may be a little less than the network had.
    """
    return sum(prod(tensor.dims) for tensor in model.graph.initializer if tensor.data_type in _LEARNT)


def value_problems(model: onnx.ModelProto) -> list[Problem]:
    """Weights that no training leaves behind, as for safetensors: codes `not_finite` and `all_zero`."""
    weights = {name for node in model.graph.node if node.op_type in _WEIGHTED for name in node.input}
    not_finite, matrices, is_empty = [], 0, True
    for name, tensor in tensors_of(model.graph):
        if tensor.data_type not in _FLOATS:
            continue
        values = numpy_helper.to_array(tensor)
        is_weight = name in weights
        if bool(np.isnan(values).any()) or (is_weight and not bool(np.isfinite(values).all())):
            not_finite.append(f"{quote(name)} has values that are NaN or infinite")
        if is_weight and values.ndim > 1:
            matrices += 1
            is_empty = is_empty and not bool(values.any())
    return [
        *first_problems("not_finite", not_finite),
        *first_problems("all_zero", ["all weight matrices are zero"] if matrices and is_empty else []),
    ]
