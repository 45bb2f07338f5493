"""From an optimiser spec to a torch optimiser."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from fdkd_core.spec import OptimizerSpec, SGDSpec


def build_optimizer(spec: OptimizerSpec, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Builds the optimiser; the learning rate is set anew before each step."""
    if isinstance(spec, SGDSpec):
        return torch.optim.SGD(
            parameters,
            lr=spec.lr,
            momentum=spec.momentum,
            weight_decay=spec.weight_decay,
            nesterov=spec.nesterov,
        )
    return torch.optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
