"""What a network must provide: pooled features and logits in one forward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class ModelOutput(NamedTuple):
    """Result of one forward pass."""

    features: Tensor
    """Shape [B, D]: the pooled vector that the classifier reads, not modified in place later."""
    logits: Tensor
    """Shape [B, classes]."""


class Backbone(nn.Module):
    """Base of every network of the registry: `forward(inputs) -> ModelOutput`.

    `feature_dim` is D. The last layer is `classifier`, a Linear(D, classes), so that
    `logits == classifier(features)` up to dropout.
    """

    feature_dim: int
    classifier: nn.Linear
    input_dtype: torch.dtype = torch.float32
    """What `forward` takes: float32, or int64 for token ids."""

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Features and logits of a batch [B, ...] of `input_dtype`."""
        raise NotImplementedError
