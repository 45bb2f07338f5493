"""From `model.onnx` to networks whose weights have eight bits, in two ways.

Weights get seven of the eight bits: with eight, the kernels of CPUs without VNNI saturate and answer
otherwise than those with it, and figures that were measured on one would not hold on the other.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fdkd_core.long_inputs import rows_at_a_time

_CALIBRATION_BATCH = 16
_PRODUCTS = ("MatMul", "Gemm")


def quantise_dynamic(onnx_file: bytes, *, but_last: bool = False) -> bytes:
    """Matrix products with int8 weights, whose inputs are rounded by the range of each batch.

    Convolutions stay in float32: rounded this way they are 3 to 16 times as slow on CPUs
    without VNNI, and not smaller than with static ranges (docs/decisions/0023).

    Args:
        onnx_file: The network.
        but_last: Leave the last layer as it is, for one that answers in several units: rounded by one step,
            numbers of the smaller unit would be lost.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def write(target: Path) -> None:
        quantize_dynamic(
            onnx.ModelProto.FromString(onnx_file),
            target,
            op_types_to_quantize=list(_PRODUCTS),
            nodes_to_exclude=_last_product(onnx_file) if but_last else [],
            weight_type=QuantType.QInt8,
            reduce_range=True,
        )

    return _written(write)


def quantise_static(onnx_file: bytes, inputs: NDArray[Any], *, but_last: bool = False) -> bytes:
    """All that has weights in int8, convolutions included, with ranges that were seen once and for all.

    Args:
        onnx_file: The network.
        inputs: Prepared training inputs [N, *input_shape], by which the ranges are found.
        but_last: As for `quantise_dynamic`.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Gives the inputs batch by batch, once."""

        def __init__(self) -> None:
            rows = rows_at_a_time(_CALIBRATION_BATCH, inputs.shape[1:])
            starts = range(0, len(inputs), rows)
            self._batches = (inputs[start : start + rows] for start in starts)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            """The next batch; None at the end."""
            batch = next(self._batches, None)
            return None if batch is None else {"inputs": np.ascontiguousarray(batch)}

    def write(target: Path) -> None:
        quantize_static(
            onnx.ModelProto.FromString(onnx_file),
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            nodes_to_exclude=_last_product(onnx_file) if but_last else [],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )

    return _written(write)


def _last_product(onnx_file: bytes) -> list[str]:
    """Names of the nodes from the last matrix product to the answers."""
    makers = {
        output: node for node in onnx.ModelProto.FromString(onnx_file).graph.node for output in node.output
    }
    names = []
    node = makers.get("logits")
    while node is not None:
        # The dynamic quantiser makes a product and a sum of a Gemm first, and calls them so.
        names += [node.name, f"{node.name}_MatMul", f"{node.name}_Add"]
        if node.op_type in _PRODUCTS:
            break
        node = makers.get(node.input[0]) if node.input else None
    return names


def _written(write: Callable[[Path], None]) -> bytes:
    """What a quantiser writes, which writes to a path only."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        write(path)
        proto = onnx.ModelProto.FromString(path.read_bytes())
    return bytes(proto.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the advice to optimise the graph first, which the export has done.

    The first line of a root logger would also give it a handler.
    """
    root = logging.getLogger()
    disabled, handlers = root.disabled, [*root.handlers]
    root.disabled = True
    try:
        yield
    finally:
        root.disabled = disabled
        root.handlers[:] = handlers
