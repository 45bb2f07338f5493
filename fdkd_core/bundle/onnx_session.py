"""Running `model.onnx`, after looking for what an honest export never has. No torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fdkd_core.errors import ModelFileError, Problem
from fdkd_core.onnx_files.structure import check_onnx

_ERRORS_ONLY = 3


class OnnxSession:
    """`session(inputs [B, ...]) -> logits [B, classes]` on the CPU.

    Args:
        onnx_file: The bytes.
        threads: Of onnxruntime; None takes every core.

    Raises:
        ModelFileError: As for `check_onnx`, or `invalid_onnx`: onnxruntime refuses it.
    """

    def __init__(self, onnx_file: bytes, *, threads: int | None = None) -> None:
        check_onnx(onnx_file)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        if threads is not None:
            options.intra_op_num_threads = threads
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
