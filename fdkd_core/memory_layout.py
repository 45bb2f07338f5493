"""The layout of a network's weights in memory, which decides which kernels run."""

from __future__ import annotations

import torch
from torch import nn

MIN_SAFE_CHANNELS = 16
"""Input channels from which oneDNN's gradient of a strided 1x1 convolution is sound in channels-last."""


def use_fast_layout(model: nn.Module, device: torch.device) -> None:
    """Puts a network into channels-last on CPUs, where that is faster and sound.

    Max pooling and convolutions with few channels take a third to half the time off a step this way
    (`docs/decisions/0007`). A network with a strided 1x1 convolution of few input channels is left alone:
    its weight gradient overruns a buffer in oneDNN (issue uxlfoundation/oneDNN#6035; on AVX2 the heap was
    corrupted at 1 to 7 input channels and sound from 8 on, and a vector of AVX-512 holds twice as many).
    """
    if device.type == "cpu" and not any(map(_is_unsound, model.modules())):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def is_channels_last(model: nn.Module) -> bool:
    """Whether the kernels of a network's convolutions lie in channels-last."""
    return any(
        weight.dim() == 4
        and not weight.is_contiguous()
        and weight.is_contiguous(memory_format=torch.channels_last)
        for weight in model.parameters()
    )


def _is_unsound(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and module.stride != (1, 1)
        and module.in_channels < MIN_SAFE_CHANNELS
    )
