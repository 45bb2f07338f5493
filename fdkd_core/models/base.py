"""What a network must provide: pooled features and logits in one forward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class ModelOutput(NamedTuple):
    """Result of one forward pass."""

    features: Tensor
    """Shape [B, D]: the pooled vector that the classifier reads, not modified in place later. Of a network
    that answers by pixel, its map [B, D, h, w]."""
    logits: Tensor
    """Shape [B, classes], or [B, classes, h, w]."""


class Backbone(nn.Module):
    """Base of every network of the registry: `forward(inputs) -> ModelOutput`.

    `feature_dim` is D. The last layer is `classifier`, a Linear(D, classes), so that
    `logits == classifier(features)` up to dropout.
    """

    feature_dim: int
    classifier: nn.Linear
    input_dtype: torch.dtype = torch.float32
    """What `forward` takes: float32, or int64 for token ids."""
    is_dense: bool = False
    """Whether it answers by pixel."""

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Features and logits of a batch [B, ...] of `input_dtype`."""
        raise NotImplementedError


def served_logits(model: Backbone, inputs: Tensor, output: ModelOutput) -> Tensor:
    """Logits as a student hands them out: of a network that answers by pixel, at the size of its input."""
    if not model.is_dense:
        return output.logits
    size = [int(side) for side in inputs.shape[2:]]
    return functional.interpolate(output.logits, size=size, mode="bilinear", align_corners=False)


class DenseBackbone(Backbone):
    """Base of the networks that answer by pixel: maps of features and logits, as large as each other.

    The classifier is applied at each place. Logits are those of the feature's map, which is smaller than the
    input; who compares them with a mask enlarges them (`losses.pixels.resized`).
    """

    is_dense = True
    dropout: nn.Module

    def answer(self, features_BDHW: Tensor) -> ModelOutput:
        """The output, from the map before dropout and classifier."""
        kept_BDHW = self.dropout(features_BDHW)
        logits_BCHW = self.classifier(kept_BDHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return ModelOutput(features_BDHW, logits_BCHW)
