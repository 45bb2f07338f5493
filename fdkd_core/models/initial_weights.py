"""Random starting weights, drawn from torch's global generator.

Tensors of the meta device are left alone: `build_model` uses it only to count parameters, and
`normal_` there loads two seconds' worth of compiler modules.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

_EMBEDDING_STD = 0.02  # as in BERT; the first norm rescales it anyway


def he_normal(model: nn.Module, fan: Literal["fan_in", "fan_out"] = "fan_in") -> None:
    """Draws every convolution's weights for layers followed by a ReLU (He et al. 2015, equation 10)."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode=fan, nonlinearity="relu")


def small_normal(embedding: Tensor) -> None:
    """Draws an embedding table."""
    if not embedding.is_meta:
        nn.init.normal_(embedding, std=_EMBEDDING_STD)
