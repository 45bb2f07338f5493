"""Running `model.onnx`, after looking for what an honest export never has. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from fdkd_core.errors import ModelFileError, Problem, quote

MAX_ONNX_BYTES = (2 << 30) - 1
"""A protobuf message cannot be larger."""
_DOMAINS = frozenset({"", "ai.onnx"})
_ERRORS_ONLY = 3


class OnnxSession:
    """`session(inputs [B, ...]) -> logits [B, classes]` on the CPU.

    Raises:
        ModelFileError: `invalid_onnx`, `external_data_forbidden` (weights in another file, whose path the
            model chooses), or `unsupported_op` (operators outside ONNX).
    """

    def __init__(self, onnx_file: bytes) -> None:
        check_onnx(onnx_file)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(
                onnx_file, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has one class per status, none of them public
            raise ModelFileError(Problem("invalid_onnx", "onnxruntime refuses model.onnx.")) from error

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Logits of a batch of prepared inputs."""
        logits: NDArray[np.float32] = self._session.run(["logits"], {"inputs": inputs})[0]
        return logits


def check_onnx(onnx_file: bytes) -> None:
    """Refuses ONNX bytes that reach outside themselves; see `OnnxSession`."""
    try:
        model = onnx.ModelProto.FromString(onnx_file)
    except DecodeError as error:
        raise ModelFileError(Problem("invalid_onnx", "model.onnx is not an ONNX file.")) from error
    if model.functions:
        raise ModelFileError(Problem("unsupported_op", "model.onnx brings its own functions."))
    for graph in _graphs(model.graph):
        tensors = [*graph.initializer]
        for node in graph.node:
            if node.domain not in _DOMAINS:
                raise ModelFileError(
                    Problem("unsupported_op", f"model.onnx uses operators of {quote(node.domain)}.")
                )
            tensors += [attribute.t for attribute in node.attribute]
            tensors += [tensor for attribute in node.attribute for tensor in attribute.tensors]
        if graph.sparse_initializer or any(
            tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors
        ):
            raise ModelFileError(
                Problem("external_data_forbidden", "model.onnx must hold its weights itself, densely.")
            )


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those nested in its nodes. Protobuf itself limits the nesting to 100."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for nested in attribute.graphs:
                yield from _graphs(nested)
