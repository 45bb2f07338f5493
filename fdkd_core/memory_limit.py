"""Refusing, before training starts, a job that cannot fit into memory."""

from __future__ import annotations

import copy
import os
from typing import Any

import torch
from torch import Tensor, nn

from fdkd_core.errors import IncompatibleError, Problem
from fdkd_core.modalities.base import Recipe
from fdkd_core.models.base import Backbone
from fdkd_core.spec import TrainingSpec

COPIES_OF_WEIGHTS = 5
"""Weights, gradients, two slots of Adam, the best epoch's copy."""
COPIES_OF_ACTIVATIONS = 2
"""Outputs kept for backward, and their gradients at the peak."""
USABLE_FRAC = 0.9


def require_memory(
    model: Backbone, recipe: Recipe, training: TrainingSpec, device: torch.device, pointer: str
) -> None:
    """Refuses a model whose training would not fit the device.

    Raises:
        IncompatibleError: Code `exceeds_limit`, with the estimate and what is there.
    """
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    needed = COPIES_OF_WEIGHTS * weights + COPIES_OF_ACTIVATIONS * training.batch_size * _activation_bytes(
        model, recipe
    )
    available = int(USABLE_FRAC * _memory_bytes(device))
    if needed > available:
        raise IncompatibleError(
            Problem(
                "exceeds_limit",
                f"training needs about {needed / 2**30:.1f} GiB with batches of {training.batch_size}; "
                f"{available / 2**30:.1f} GiB are usable: lower width, depth or training.batch_size",
                pointer,
            )
        )


def _memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _activation_bytes(model: Backbone, recipe: Recipe) -> int:
    """Bytes of every module's output for one sample, counted without computing anything."""
    total = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.nbytes

    with torch.device("meta"):
        inputs = torch.zeros((1, *recipe["input_shape"]), dtype=model.input_dtype)
    shadow = copy.deepcopy(model).to("meta").eval()
    handles = [module.register_forward_hook(count) for module in shadow.modules()]
    try:
        with torch.no_grad():
            shadow(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return total
