"""What a model of a run is, for its result: network, size and hash, without what it scored."""

from __future__ import annotations

import hashlib
from typing import Any

from fdkd_core.models.cost import multiply_adds, parameter_count
from fdkd_core.models.onnx_teacher import OnnxTeacher
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.models.weights import render_weights
from fdkd_core.phases import Trained


def model_figures(trained: Trained, input_shape: tuple[int, ...]) -> dict[str, Any]:
    """The fields `architecture`, `parameters`, `multiply_adds`, `size_bytes`, `weights_sha256` of a result.

    Args:
        trained: The model.
        input_shape: Of one sample, without the batch.
    """
    model = trained.model
    if isinstance(model, OnnxTeacher):
        return {
            "architecture": {"name": "onnx", "opset": model.network.opset},
            "parameters": model.network.parameters,
            "multiply_adds": 0,
            "size_bytes": model.network.size_bytes,
            "weights_sha256": model.sha256,
        }
    if isinstance(model, RecordedTeacher):
        return {
            "architecture": {"name": "recorded", **model.spec.model_dump(exclude_none=True)},
            "parameters": 0,
            "multiply_adds": 0,
            "size_bytes": 0,
            "weights_sha256": "",
        }
    assert trained.architecture is not None  # only what is no network of ours has none
    weights = render_weights(model)
    return {
        "architecture": trained.architecture.model_dump(mode="json"),
        "parameters": parameter_count(model),
        "multiply_adds": multiply_adds(model, input_shape),
        "size_bytes": len(weights),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }


def identity_of(trained: Trained) -> dict[str, Any]:
    """What tells a network's answers from those of any other, on the same inputs."""
    model = trained.model
    if isinstance(model, OnnxTeacher):
        return {"architecture": "onnx", "weights": model.sha256, "outputs": model.output_names}
    assert trained.architecture is not None
    return {
        "architecture": trained.architecture.model_dump(mode="json"),
        "weights": hashlib.sha256(render_weights(model)).hexdigest(),
    }
