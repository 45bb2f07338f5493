"""Running any feed-forward network that is one ONNX file: one input array, outputs by name."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from fdkd_core.errors import ModelFileError, Problem, first_problems, quote
from fdkd_core.modalities.base import MAX_INPUT_VALUES
from fdkd_core.onnx_files.structure import check_onnx, opset_of
from fdkd_core.onnx_files.values import parameter_count, value_problems
from fdkd_core.spec.onnx_outputs import ANSWER_AXES, choose_outputs

CHUNK_ROWS = 32
"""Rows at a time: memory stays small, and constant, because sums in another order round differently."""
MAX_FIXED_BATCH = 1024
MAX_NUMBERS = 1 << 26
"""In one batch of a network that takes no other."""
_FATAL_ONLY = 4
_FEW_ROWS = 2
_TOLERANCE = 1e-3
"""Largest difference of one row's answers in two batches, as a share of the largest answer."""
_DTYPES = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT64: "int64"}
_FAILED_ALLOCATION = ("Failed to allocate memory", "bad allocation", "bad_alloc", "std::length_error")


class InputSignature(NamedTuple):
    """What the network takes."""

    name: str
    shape: tuple[int, ...]
    """Of one sample, without the batch."""
    dtype: str
    """`float32` or `int64`."""
    batch: int | None
    """Rows that it takes at once; None for any number."""


class OnnxNetwork:
    """A checked file that was run once, on a batch of our own making.

    Args:
        onnx_file: The bytes.
        threads: Of onnxruntime.

    Raises:
        ModelFileError: As for `check_onnx` and `value_problems`; `unsupported_signature`: not one float32 or
            int64 input of fixed shape, no output [batch, numbers] or [batch, channels, height, width], or
            answers that depend on the other rows; `exceeds_limit`: a small batch needs more memory than
            there is; `not_finite`: it answers NaN.
    """

    def __init__(self, onnx_file: bytes, *, threads: int = 1) -> None:
        model = check_onnx(onnx_file)
        problems = value_problems(model)
        if problems:
            raise ModelFileError(problems)
        self.size_bytes = len(onnx_file)
        self.threads = threads
        self.parameters = parameter_count(model)
        self.opset = opset_of(model)
        self.input = _signature(model.graph)
        makers = {name: node.op_type for node in model.graph.node for name in node.output}
        names = [output.name for output in model.graph.output]
        del model  # as large as the file
        try:
            self._session = _open_session(onnx_file, threads)
        except Exception as error:  # onnxruntime has one class per status, none of them public
            raise _failure(error, "onnxruntime refuses it") from None
        self.outputs = self._try_out(names, makers)

    def __call__(self, inputs: NDArray[Any], names: Sequence[str]) -> list[NDArray[np.float32]]:
        """Some outputs for a batch of any size, in float32.

        Args:
            inputs: [B, *input.shape], B at least 1.
            names: Of outputs [batch, ...].
        """
        rows = self.input.batch or CHUNK_ROWS
        chunks = []
        for start in range(0, len(inputs), rows):
            chunk = inputs[start : start + rows]
            count = len(chunk)
            if self.input.batch is not None and count < rows:
                chunk = np.concatenate([chunk, np.repeat(chunk[-1:], rows - count, axis=0)])
            found = self._session.run([*names], {self.input.name: np.ascontiguousarray(chunk)})
            chunks.append([values[:count].astype(np.float32) for values in found])
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]

    def report(self) -> dict[str, Any]:
        """What a job must know to take it as a teacher (`fdkd_core.spec.compatibility`)."""
        has_vectors = any(output["shape"] and len(output["shape"]) == 1 for output in self.outputs)
        logits, features, _ = choose_outputs(None, self.outputs, by_pixel=not has_vectors)
        return {
            "format": "onnx",
            "modality_kind": None,
            "input_shape": list(self.input.shape),
            "input_dtype": self.input.dtype,
            "batch": self.input.batch,
            "vocab_size": None,
            "source_channels": None,
            "classes": None,
            "num_classes": logits["shape"][0] if logits else None,
            "feature_dim": features["shape"][0] if features else None,
            "parameters": self.parameters,
            "architecture": None,
            "dimensions": None,
            "opset": self.opset,
            "outputs": self.outputs,
        }

    def _try_out(self, names: list[str], makers: dict[str, str]) -> list[dict[str, Any]]:
        """Runs two small batches that share a row: what comes out, and that the row is answered alone."""
        inputs = self._example(self.input.batch or _FEW_ROWS)
        others = inputs.copy()
        if self.input.dtype == "float32":
            others[1:] *= -0.5
        try:
            found = self._session.run(names, {self.input.name: inputs})
            again = self._session.run(names, {self.input.name: others})
        except Exception as error:
            raise _failure(error, f"it fails on a batch of {len(inputs)}") from None
        outputs, wavering, not_finite = [], [], []
        for name, values, repeated in zip(names, found, again, strict=True):
            is_rows = (
                isinstance(values, np.ndarray)
                and values.dtype.kind == "f"
                and values.shape[:1] == (len(inputs),)
            )
            shape = list(values.shape[1:]) if is_rows else None
            outputs.append({"name": name, "shape": shape, "made_by": makers.get(name)})
            if shape is None or len(shape) not in ANSWER_AXES:
                continue
            if not bool(np.isfinite(values).all()):
                not_finite.append(f"the output {quote(name)} is NaN or infinite for a plain input")
            elif np.abs(values[0] - repeated[0]).max(initial=0) > _TOLERANCE * np.abs(values).max(initial=0):
                detail = f"{quote(name)} of one row depends on the other rows of its batch"
                wavering.append(detail)
        problems = [
            *first_problems("not_finite", not_finite),
            *first_problems("unsupported_signature", wavering),
        ]
        if not any(output["shape"] and len(output["shape"]) in ANSWER_AXES for output in outputs):
            shown = ", ".join(quote(name, 40) for name in names[:10])
            detail = (
                f"none of the outputs is [batch, numbers] or a map of them in floats: {quote(shown, 120)}"
            )
            problems += first_problems("unsupported_signature", [detail])
        if problems:
            raise ModelFileError(problems)
        return outputs

    def _example(self, rows: int) -> NDArray[Any]:
        shape = (rows, *self.input.shape)
        if self.input.dtype == "int64":
            return np.ones(shape, np.int64)  # a token that every vocabulary has
        return np.linspace(-1.0, 1.0, prod(shape), dtype=np.float32).reshape(shape)


def _signature(graph: onnx.GraphProto) -> InputSignature:
    filled = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in filled]
    if len(inputs) != 1:
        names = ", ".join(quote(value.name, 30) for value in inputs[:4])
        raise _unsupported(f"it has {len(inputs)} inputs ({names}); one is needed")
    (value,) = inputs
    name, dtype = value.name, _DTYPES.get(value.type.tensor_type.elem_type)
    if not value.type.HasField("tensor_type") or dtype is None:
        raise _unsupported(f"the input {quote(name)} must be a float32 array, or int64 for token ids")
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
    shown = quote(["any" if size is None else size for size in dims], 60)
    batch, sizes = (dims[0], [size for size in dims[1:] if size]) if dims else (None, [])
    if not sizes or len(sizes) != len(dims) - 1 or len(dims) > 4 or min(sizes) < 1:
        detail = f"the input {quote(name)} has the shape {shown}; [batch, ...] with up to 3 more axes"
        raise _unsupported(f"{detail}, all of fixed size, is needed: export it for one size")
    rows = 1 if batch is None else batch
    if not 1 <= rows <= MAX_FIXED_BATCH or prod(sizes) > MAX_INPUT_VALUES or rows * prod(sizes) > MAX_NUMBERS:
        detail = f"the input {quote(name)} of shape {shown} is too large: at most {MAX_FIXED_BATCH} rows of "
        detail += f"{MAX_INPUT_VALUES:,} numbers are allowed, and {MAX_NUMBERS:,} numbers in all"
        raise ModelFileError(first_problems("exceeds_limit", [detail]))
    return InputSignature(name, tuple(sizes), dtype, batch)


def _open_session(onnx_file: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(onnx_file, options, providers=["CPUExecutionProvider"])


def _failure(error: BaseException, what: str) -> ModelFileError:
    if isinstance(error, MemoryError) or any(text in str(error) for text in _FAILED_ALLOCATION):
        detail = "to run it on a small batch needs more memory than is allowed"
        return ModelFileError(first_problems("exceeds_limit", [detail]))
    reason = quote(" ".join(str(error).split()).rpartition("Status Message: ")[2], 120)
    return ModelFileError(first_problems("invalid_onnx", [f"{what}: {reason}"]))


def _unsupported(detail: str) -> ModelFileError:
    return ModelFileError(Problem("unsupported_signature", f"{detail}."))
