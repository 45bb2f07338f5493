"""Predicting with a bundle: raw value in, label out. With the `onnx` backend torch is never imported."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fdkd_core.bundle.folder import INT8, ONNX, Bundle, load_bundle
from fdkd_core.bundle.onnx_session import OnnxSession
from fdkd_core.bundle.predictions import Prediction as Prediction
from fdkd_core.bundle.predictions import predictions
from fdkd_core.bundle.regular_file import read_limited
from fdkd_core.long_inputs import rows_at_a_time
from fdkd_core.onnx_files.structure import MAX_ONNX_BYTES

Backend = Literal["torch", "onnx", "onnx-int8"]
Forward = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Prepared inputs [B, ...] to logits [B, classes], or [B, classes, H, W]."""

_BATCH = 64


class Student:
    """A bundle, ready to predict. Made by `load_student`."""

    def __init__(self, bundle: Bundle, forward: Forward) -> None:
        self.task = bundle.config.task
        """What it answers: one class, a set of classes, numbers, or a class of each pixel."""
        self.classes = list(bundle.classes)
        """Names of the classes; of the numbers, where it answers with those."""
        self.kind = bundle.preprocessor.kind.name
        """Kind of the modality, such as `audio`."""
        self._preprocessor = bundle.preprocessor
        self._forward = forward
        self._rows = rows_at_a_time(_BATCH, bundle.config.input_shape)

    def predict(self, value: Any) -> Any:
        """The answer for one value: `Prediction`, or what else the task gives.

        Args:
            value: A path (str or Path), the bytes of a file, or an array as the training data had it.
                For text a str is the text itself.

        Raises:
            InputError: The value cannot be used; the message says what is allowed.
        """
        return self.predict_many([value])[0]

    def predict_many(self, values: Sequence[Any]) -> list[Any]:
        """`predict` for each value, in batches of up to 64, fewer of long inputs."""
        found: list[Any] = []
        for start in range(0, len(values), self._rows):
            logits = self._forward(self._preprocessor.prepare(values[start : start + self._rows]))
            found += predictions(self.task, self.classes, logits)
        return found


def load_student(path: str | os.PathLike[str], backend: Backend = "torch") -> Student:
    """Checks and loads a bundle folder.

    Args:
        path: The folder.
        backend: `torch` reads model.safetensors; `onnx` reads model.onnx with onnxruntime and needs no torch;
            so does `onnx-int8` with model.int8.onnx, which a bundle has where it was found worth it.

    Raises:
        ModelFileError: Something in the folder is refused; see `load_bundle`. `not_found`: it has no file for
            this backend.
    """
    bundle = load_bundle(path)
    return Student(bundle, _FORWARDS[backend](bundle))


def _torch_forward(bundle: Bundle) -> Forward:
    import torch

    from fdkd_core.models.base import served_logits

    model = bundle.model

    def forward(inputs: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            tensor = torch.from_numpy(np.ascontiguousarray(inputs))
            logits: NDArray[np.float32] = served_logits(model, tensor, model(tensor)).numpy()
        return logits

    return forward


def _onnx_forward(bundle: Bundle, name: str = ONNX) -> Forward:
    return OnnxSession(read_limited(bundle.path / name, MAX_ONNX_BYTES))


_FORWARDS: dict[Backend, Callable[[Bundle], Forward]] = {
    "torch": _torch_forward,
    "onnx": _onnx_forward,
    "onnx-int8": partial(_onnx_forward, name=INT8),
}
