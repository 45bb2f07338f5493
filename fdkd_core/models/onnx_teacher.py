"""A frozen teacher that is an ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.models.base import Backbone, ModelOutput

if TYPE_CHECKING:
    from fdkd_core.onnx_files.network import OnnxNetwork


class OnnxTeacher(Backbone):
    """Features and logits of an ONNX network, which onnxruntime runs on the CPU whatever the device.

    It has no parameters for torch and gives no gradient; training mode changes nothing.

    Args:
        network: What to run.
        logits: Name of the output [batch, classes], or of a map [batch, classes, h, w]: then it answers by
            pixel.
        features: Name of the output [batch, D], or [batch, D, h, w], which may be of another size than the
            logits; None where the file gives none, and D is 0.
        sha256: Of the file.
    """

    def __init__(self, network: OnnxNetwork, logits: str, features: str | None, sha256: str) -> None:
        super().__init__()
        self.network = network
        self.sha256 = sha256
        self.output_names = [logits] if features is None else [logits, features]
        shapes = {output["name"]: output["shape"] for output in network.outputs if output["shape"]}
        self.feature_dim = 0 if features is None else shapes[features][0]
        self.is_dense = len(shapes[logits]) == 3
        self.input_dtype = torch.int64 if network.input.dtype == "int64" else torch.float32
        self._scale: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def set_scale(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> None:
        """From now on answers have this mean taken off and are divided by this deviation."""
        self._scale = mean, std

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> ModelOutput:
        """Features [B, D] and logits [B, classes] of a batch, or maps, on the device of the inputs."""
        found = self.network(inputs.cpu().numpy(), self.output_names)
        if self._scale is not None:
            found[0] = ((found[0] - self._scale[0]) / self._scale[1]).astype(np.float32)
        # Without features, places as those of the logits: what is done to all maps is done to these too.
        none = np.empty((len(inputs), 0, *found[0].shape[2:]), np.float32)
        features = found[1] if len(found) > 1 else none
        return ModelOutput(*(torch.from_numpy(values).to(inputs.device) for values in (features, found[0])))
