"""From a trained network to `model.onnx`, and how far the two agree."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fdkd_core.bundle.config import OnnxRecord
from fdkd_core.bundle.onnx_session import OnnxSession
from fdkd_core.bundle.predictions import same_answers
from fdkd_core.long_inputs import rows_at_a_time
from fdkd_core.models.base import Backbone, served_logits
from fdkd_core.spec.tasks import ClassificationSpec, TaskSpec

OPSET = 20
_PARITY_BATCH = 64
_CLASSIFICATION = ClassificationSpec()


class _Outputs(nn.Module):
    """The network as an ONNX graph gives it: a plain pair, logits first."""

    def __init__(self, model: Backbone) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        output = self.model(inputs)
        return served_logits(self.model, inputs, output), output.features


def export_onnx(model: Backbone, input_shape: tuple[int, ...]) -> bytes:
    """The network in eval mode as one ONNX file: `inputs` [batch, ...] to `logits` and `features`.

    Weights are inside the file, batch norm is folded into the convolutions, and everything that the exporter
    notes for debugging is removed: it would hold the paths and source lines of this machine.

    Args:
        model: Any network of the registry, on any device, in any mode; it is not changed.
        input_shape: Shape of one sample, without the batch.
    """
    network = copy.deepcopy(model).cpu().eval()
    # Two samples: a batch of one would be taken for a constant.
    example = torch.ones((2, *input_shape), dtype=model.input_dtype)
    with _quiet():
        program: Any = torch.onnx.export(
            _Outputs(network).eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["inputs"],
            output_names=["logits", "features"],
            dynamic_shapes={"inputs": {0: torch.export.Dim("batch")}},
            external_data=False,
            verbose=False,
        )
    proto: onnx.ModelProto = program.model_proto
    _strip_debugging(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def measure_parity(
    model: Backbone, onnx_file: bytes, inputs: NDArray[Any], task: TaskSpec = _CLASSIFICATION
) -> OnnxRecord:
    """Runs both on the same inputs.

    Args:
        model: The network that was exported.
        onnx_file: What `export_onnx` gave.
        inputs: Shape [N, *input_shape], N at least 1, prepared for the network; may be memory-mapped.
        task: What the network answers, by which two answers count as the same.
    """
    network = copy.deepcopy(model).cpu().eval()
    session = OnnxSession(onnx_file)
    largest = difference = 0.0
    equal = 0
    rows = rows_at_a_time(_PARITY_BATCH, inputs.shape[1:])
    for start in range(0, len(inputs), rows):
        batch = np.ascontiguousarray(inputs[start : start + rows])
        with torch.inference_mode():
            tensor = torch.from_numpy(batch)
            expected = served_logits(network, tensor, network(tensor)).numpy()
        found = session(batch)
        largest = max(largest, float(np.abs(expected).max()))
        difference = max(difference, float(np.abs(found - expected).max()))
        equal += int(same_answers(task, expected, found).sum())
    return OnnxRecord(
        opset=OPSET,
        max_abs_difference=difference,
        relative_difference=difference / largest if largest > 0 else difference,
        equal_predictions=equal,
        num_samples=len(inputs),
    )


def _strip_debugging(proto: onnx.ModelProto) -> None:
    graph = proto.graph
    del proto.metadata_props[:]
    del graph.metadata_props[:]
    del graph.value_info[:]
    proto.doc_string = graph.doc_string = ""
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the exporter says about itself: deprecated calls within torch, absent torchvision."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)
